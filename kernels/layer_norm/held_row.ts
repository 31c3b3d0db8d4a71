// WGSL that normalises a row which a workgroup holds in its registers, four columns at a time: everything is asked for at
// once and read once. For the layerNorm kernel and for linears that normalise x on the way.
import type { GpuCaps } from "../../device/caps.ts";
import { type Binding, type GpuContext, rowStride } from "../gpu_op.ts";
import type { LayerNormNode } from "../graph.ts";
import { unroll } from "../wgsl.ts";

/** Threads of the workgroup, and of a team that adds up; a team is a subgroup, or there are none. */
export interface Teams {
  readonly threads: number;
  readonly lanes: number;
  readonly subgroups: boolean;
}

export interface HeldRow {
  /** Bindings `normScale` and, where the norm has a bias, `normShift` from `firstBinding` on, and functions. */
  readonly code: string;
  readonly bindings: readonly Binding[];
  /** Parameters of `main`, and its first lines: `team` and `lane`. */
  readonly builtins: string;
  readonly place: string;
  /** For `main`: asks for the row, of which `quadOf` reads the four at a place within it, and for the norm's vectors. */
  loads(quadOf: (place: string) => string): string;
  /** For `main`: makes `y0`, `y1`, ... of them; zero beyond the width. Needs `thread`, `team` and `lane`. */
  readonly normalise: string;
  /** `line(i)` for every four `y<i>`, which are columns 4 * `quad<i>` on; past the end of the row where not `held<i>`. */
  each(line: (i: number) => string): string;
}

/** Teams of a workgroup: subgroups, where their size is known before the code is compiled. */
export function teamsOf(threads: number, { subgroups, subgroupMinSize, subgroupMaxSize }: GpuCaps): Teams {
  const known = subgroups && subgroupMinSize === subgroupMaxSize;
  if (known && subgroupMinSize >= 8 && subgroupMinSize <= 64) {
    return { threads, lanes: subgroupMinSize, subgroups: true };
  }
  return { threads, lanes: 32, subgroups: false };
}

export function heldRow(
  norm: LayerNormNode,
  teams: Teams,
  context: GpuContext,
  firstBinding: number,
): HeldRow {
  const { width } = norm.input;
  const rowQuads = rowStride(width) / 4;
  const count = Math.ceil(rowQuads / teams.threads);
  const each = (line: (i: number) => string) => unroll(count, line);
  const sum = (term: (i: number) => string) =>
    `dot(${Array.from({ length: count }, (_, i) => term(i)).join(" + ")}, vec4<f32>(1.0))`;
  return {
    code: [
      vectorCode("normScale", firstBinding, width),
      ...(norm.bias ? [vectorCode("normShift", firstBinding + 1, width)] : []),
      insideCode(width),
      ...(norm.bias ? [rowSumCode("rowSum", "f32", teams)] : []),
      rowSumCode("rowSums", "vec2<f32>", teams),
    ].join("\n"),
    bindings: [norm.scale, norm.bias].flatMap((ref) =>
      ref ? [{ buffer: context.vector(ref), access: "read" }] : []
    ),
    builtins: teams.subgroups
      ? "@builtin(subgroup_id) team: u32, @builtin(subgroup_invocation_id) lane: u32,"
      : "",
    place: teams.subgroups ? "" : "    let team = 0u;\n    let lane = 0u;",
    loads: (quadOf) =>
      each((i) =>
        `    let quad${i} = thread + ${i * teams.threads}u;
    let held${i} = quad${i} < ${rowQuads}u;
    let inside${i} = inside(quad${i});
    let scale${i} = normScaleQuad(quad${i});
    let shift${i} = ${norm.bias ? `normShiftQuad(quad${i})` : "vec4<f32>()"};
    let x${i} = ${quadOf(`min(quad${i}, ${rowQuads - 1}u)`)} * inside${i};`
      ),
    // Without bias the mean counts as zero. A mean in f32 is off by its rounding, which a large mean makes large beside the spread. So the differences from it
    // are summed too: their mean is that error, and is taken out of mean and variance.
    normalise: `    let rough = ${
      norm.bias ? `rowSum(${sum((i) => `x${i}`)}, thread, team, lane) / ${width}.0` : "0.0"
    };
${each((i) => `    let d${i} = (x${i} - rough) * inside${i};`)}
    let moments = rowSums(vec2<f32>(${norm.bias ? sum((i) => `d${i}`) : "0.0"}, ${
      sum((i) => `d${i} * d${i}`)
    }), thread, team, lane)
        / ${width}.0;
    let inverse = 1.0 / sqrt(max(moments.y - moments.x * moments.x, 0.0) + f32(${norm.epsilon}));
${each((i) => `    let y${i} = fma((d${i} - moments.x) * inverse, scale${i}, shift${i}) * inside${i};`)}`,
    each,
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
  return `/** One where column 4 * quad + c is a column of the row, else zero. */
fn inside(quad: u32) -> vec4<f32> {
    return select(vec4<f32>(), vec4<f32>(1.0), vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(${width}u));
}`;
}

/**
 * `name(value, ...)`: the sum over all threads, in each of them. With memory of its own it need not wait until others have
 * read what was in it: to be called once, or with a barrier between.
 */
function rowSumCode(name: string, type: "f32" | "vec2<f32>", { threads, lanes, subgroups }: Teams): string {
  const head = `fn ${name}(value: ${type}, thread: u32, team: u32, lane: u32) -> ${type} {`;
  const parts = `${name}Parts`;
  if (subgroups) {
    const teams = threads / lanes;
    return `var<workgroup> ${parts}: array<${type}, ${teams}>;
${head}
    let added = subgroupAdd(value);
    if (lane == 0u) { ${parts}[team] = added; }
    workgroupBarrier();
    return ${Array.from({ length: teams }, (_, i) => `${parts}[${i}]`).join(" + ")};
}`;
  }
  return `var<workgroup> ${parts}: array<${type}, ${threads}>;
${head}
    ${parts}[thread] = value;
    workgroupBarrier();
    for (var half = ${threads / 2}u; half > 0u; half /= 2u) {
        if (thread < half) { ${parts}[thread] += ${parts}[thread + half]; }
        workgroupBarrier();
    }
    return ${parts}[0];
}`;
}
