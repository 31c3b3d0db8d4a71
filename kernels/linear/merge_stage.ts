// Writes the part of the one-row form of linear that brings an attention's output into workgroup memory, of which it joins
// the splits: the merge then costs no dispatch of its own.
import type { GpuCaps } from "../../device/caps.ts";
import { mergedQuad } from "../attention/merge.ts";
import { splitResults, type Splitting } from "../attention/split.ts";
import { type GpuContext, type GpuMatrix, rowStride } from "../gpu_op.ts";
import type { AttentionNode, LinearNode } from "../graph.ts";
import { unroll } from "../wgsl.ts";
import type { GemvForm } from "./gemv_form.ts";
import { mostNormalisedWidth } from "./norm_stage.ts";
import { bringQuad, type RowStage, stagedMemory } from "./row_stage.ts";

/** Columns up to which joining the splits again in every workgroup is quicker than a dispatch of its own: 2048, not 6144. */
const MOST_COLUMNS = 2048;

/** Whether the form can join the splits, and bind their results. */
export function bindsMerge({ bias, residual }: LinearNode, weight: GpuMatrix, caps: GpuCaps): boolean {
  if (weight.columns > Math.min(MOST_COLUMNS, mostNormalisedWidth(caps))) return false;
  const own = [bias, residual, weight.scales, weight.type === "i4"].filter(Boolean).length;
  // Control, partials in the place of x, weight, output and the splits' sums.
  return 5 + own <= caps.maxStorageBuffers;
}

/** An attention in parts, as its splits leave it. */
export interface Splits {
  readonly attention: AttentionNode;
  readonly splitting: Splitting;
}

/** x of the form is what the splits of the one token put out. */
export function mergeStage(
  { attention: node, splitting }: Splits,
  form: GemvForm,
  context: GpuContext,
  firstBinding: number,
): RowStage {
  const { sums } = splitResults(node, splitting, context);
  const rowQuads = rowStride(node.output.width) / 4, headQuads = splitting.quads;
  const present = node.numHeads * headQuads;
  const each = (line: (i: number) => string) => unroll(Math.ceil(rowQuads / form.threads), line);
  return {
    code: `@group(0) @binding(${firstBinding}) var<storage, read> splitSums: array<vec2<f32>>;
${mergedQuad(node, splitting, context, "x")}
${stagedMemory(form, rowQuads)}`,
    bindings: [{ buffer: sums, access: "read" }],
    loads: each((i) =>
      `    let quad${i} = thread + ${i * form.threads}u;
    let x${i} = mergedQuad(0u, min(quad${i}, ${present - 1}u) / ${headQuads}u, quad${i} % ${headQuads}u) *
        select(0.0, 1.0, quad${i} < ${present}u);`
    ),
    bring: `${each((i) => bringQuad(form, rowQuads, i, `x${i}`, `quad${i} < ${rowQuads}u`))}
    workgroupBarrier();`,
  };
}
