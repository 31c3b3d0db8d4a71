// Writes the part of the one-row form of linear that brings x into workgroup memory, normalised: a layerNorm that only
// linears read then costs no dispatch of its own. Everything it reads is asked for at once, and before the weight.
import type { GpuCaps } from "../../device/caps.ts";
import { type Binding, type GpuContext, rowStride } from "../gpu_op.ts";
import type { LayerNormNode } from "../graph.ts";
import { unroll } from "../wgsl.ts";
import type { GemvForm } from "./gemv_form.ts";

/** Columns of x that a thread holds in registers at most, in fours, and threads that share a row at least. */
const MOST_QUADS = 8;
const FEWEST_THREADS = 256;
/** Workgroup memory that the form needs beside x, bytes. */
const BESIDE_BYTES = 12 * 1024;

/** The widest row that can be normalised on the way. */
export function mostNormalisedWidth(caps: GpuCaps): number {
  return Math.min(MOST_QUADS * FEWEST_THREADS * 4, (caps.maxWorkgroupBytes - BESIDE_BYTES) / 4);
}

export interface NormStage {
  /** WGSL: bindings from `firstBinding` on, and functions. */
  readonly code: string;
  readonly bindings: readonly Binding[];
  /** WGSL for `main`: asks for x and the norm's vectors. */
  readonly loads: string;
  /**
   * WGSL for `main`: leaves (x - mean) / sqrt(var + epsilon) * scale + shift in `staged`, zero beyond the width. The fours
   * of a word lie apart, so that neighbouring words are neighbours: staged [quads of a word][words].
   */
  readonly bring: string;
}

export function normStage(
  norm: LayerNormNode,
  form: GemvForm,
  context: GpuContext,
  firstBinding: number,
): NormStage {
  const { width } = norm.input;
  const rowQuads = rowStride(width) / 4;
  const wordQuads = form.wordElements / 4;
  const each = (line: (i: number) => string) => unroll(Math.ceil(rowQuads / form.threads), line);
  const sum = (term: (i: number) => string) =>
    `dot(${
      Array.from({ length: Math.ceil(rowQuads / form.threads) }, (_, i) => term(i)).join(" + ")
    }, vec4<f32>(1.0))`;
  return {
    code: [
      vectorCode("normScale", firstBinding, width),
      vectorCode("normShift", firstBinding + 1, width),
      insideCode(width),
      `var<workgroup> staged: array<vec4<f32>, ${rowQuads}>;`,
      rowSumCode(form),
    ].join("\n"),
    bindings: [norm.scale, norm.bias].map((ref) => ({ buffer: context.vector(ref), access: "read" })),
    loads: each((i) =>
      `    let quad${i} = thread + ${i * form.threads}u;
    let inside${i} = inside(quad${i});
    let scale${i} = normScaleQuad(quad${i});
    let shift${i} = normShiftQuad(quad${i});
    let x${i} = x[min(quad${i}, ${rowQuads - 1}u)] * inside${i};`
    ),
    // The mean in two parts, for the reason given in layer_norm.wgsl.
    bring: `    let rough = rowSum(vec2<f32>(${sum((i) => `x${i}`)}, 0.0), thread, team, lane).x / ${width}.0;
${each((i) => `    let d${i} = (x${i} - rough) * inside${i};`)}
    let moments = rowSum(vec2<f32>(${sum((i) => `d${i}`)}, ${
      sum((i) => `d${i} * d${i}`)
    }), thread, team, lane)
        / ${width}.0;
    let inverse = 1.0 / sqrt(max(moments.y - moments.x * moments.x, 0.0) + f32(${norm.epsilon}));
${
      each((i) =>
        `    if (quad${i} < ${rowQuads}u) {
        staged[quad${i} % ${wordQuads}u * ${rowQuads / wordQuads}u + quad${i} / ${wordQuads}u] =
            fma((d${i} - moments.x) * inverse, scale${i}, shift${i}) * inside${i};
    }`
      )
    }
    workgroupBarrier();`,
  };
}

/** Four elements of a vector of `width`; anything beyond it. */
function vectorCode(name: string, binding: number, width: number): string {
  const whole = width % 4 === 0;
  const columns = [0, 1, 2, 3].map((c) => `${name}[min(4u * quad + ${c}u, ${width - 1}u)]`);
  return `@group(0) @binding(${binding}) var<storage, read> ${name}: array<${whole ? "vec4<f32>" : "f32"}>;
fn ${name}Quad(quad: u32) -> vec4<f32> {
    return ${whole ? `${name}[min(quad, ${width / 4 - 1}u)]` : `vec4<f32>(${columns.join(", ")})`};
}`;
}

function insideCode(width: number): string {
  return `/** One where column 4 * quad + c is a column of x, else zero. */
fn inside(quad: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(1.0), vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(${width}u));
}`;
}

/** rowSum(value): the sum over all threads, in each of them. */
function rowSumCode({ threads, lanes, subgroups }: GemvForm): string {
  const head = "fn rowSum(value: vec2<f32>, thread: u32, team: u32, lane: u32) -> vec2<f32> {";
  const teams = threads / lanes;
  if (subgroups) {
    return `var<workgroup> teamParts: array<vec2<f32>, ${teams}>;
${head}
    let added = subgroupAdd(value);
    workgroupBarrier();
    if (lane == 0u) { teamParts[team] = added; }
    workgroupBarrier();
    return ${Array.from({ length: teams }, (_, i) => `teamParts[${i}]`).join(" + ")};
}`;
  }
  return `var<workgroup> threadParts: array<vec2<f32>, ${threads}>;
${head}
    workgroupBarrier();
    threadParts[thread] = value;
    workgroupBarrier();
    for (var half = ${threads / 2}u; half > 0u; half /= 2u) {
        if (thread < half) { threadParts[thread] += threadParts[thread + half]; }
        workgroupBarrier();
    }
    return threadParts[0];
}`;
}
