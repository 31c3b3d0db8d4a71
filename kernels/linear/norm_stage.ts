// Writes the part of the one-row form of linear that brings x into workgroup memory, normalised: a layerNorm that only
// linears read then costs no dispatch of its own. Everything it reads is asked for at once, and before the weight.
import type { GpuCaps } from "../../device/caps.ts";
import { type GpuContext, type GpuMatrix, rowStride } from "../gpu_op.ts";
import type { LayerNormNode, LinearNode } from "../graph.ts";
import { heldRow } from "../layer_norm/held_row.ts";
import { BESIDE_BYTES, type GemvForm } from "./gemv_form.ts";
import { bringQuad, type RowStage, stagedMemory } from "./row_stage.ts";

/**
 * Columns up to which normalising the row again in every workgroup is quicker than a dispatch of its own: 2048, not 6144,
 * where it halves the rate at which the weight is read.
 */
const MOST_COLUMNS = 2048;

/** The widest row that can be normalised on the way. */
export function mostNormalisedWidth(caps: GpuCaps): number {
  return Math.min(MOST_COLUMNS, (caps.maxWorkgroupBytes - BESIDE_BYTES) / 4);
}

/** Whether the form can bind a norm's vectors. Beside a residual they would be more than eight buffers to bind. */
export function bindsNorm({ bias, residual }: LinearNode, weight: GpuMatrix, caps: GpuCaps): boolean {
  const perColumn = [bias, weight.scales, weight.type === "i4"].filter(Boolean).length;
  // Control, x, weight, output and the norm's two.
  return !residual && 6 + perColumn <= caps.maxStorageBuffers;
}

export function normStage(
  norm: LayerNormNode,
  form: GemvForm,
  context: GpuContext,
  firstBinding: number,
): RowStage {
  const row = heldRow(norm, form, context, firstBinding);
  const rowQuads = rowStride(norm.input.width) / 4;
  return {
    code: `${row.code}\n${stagedMemory(form, rowQuads)}`,
    bindings: row.bindings,
    loads: row.loads((place) => `x[${place}]`),
    bring: `${row.normalise}
${row.each((i) => bringQuad(form, rowQuads, i, `y${i}`, `held${i}`))}
    workgroupBarrier();`,
  };
}
