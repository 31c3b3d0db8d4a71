// Writes the parts of the one-row form of linear by which it leaves its output as whole numbers (fixed_point.ts), and by
// which the next one takes them. They lie in the output's own buffer, [planes, then scales][words], 16 bytes each.
import type { GpuCaps } from "../../device/caps.ts";
import { type GpuMatrix, rowStride } from "../gpu_op.ts";
import { GROUP } from "../int4.ts";
import { unroll } from "../wgsl.ts";
import { bringFixedPoint, fixedPointMemory, PLANES } from "./fixed_point.ts";
import { type GemvForm, gemvForm, outputColumns, usesFixedPoint } from "./gemv_form.ts";
import type { RowStage } from "./row_stage.ts";

const FOUR_OUTPUTS =
  "vec4<f32>(outputs[4u * quad], outputs[4u * quad + 1u], outputs[4u * quad + 2u], outputs[4u * quad + 3u])";

/** Whether a linear of this weight can leave whole numbers: its workgroups make whole groups of columns. */
export function leavesWholeNumbers(weight: GpuMatrix, caps: GpuCaps): boolean {
  if (!usesFixedPoint(1, weight, caps)) return false;
  const columns = outputColumns(gemvForm(1, weight, caps, true));
  return columns % GROUP === 0 &&
    weight.shards.every(({ firstRow, numRows }) => firstRow % GROUP === 0 && numRows % columns === 0);
}

/** How a kernel ends that leaves its output so. */
export interface WholeEnd {
  /** WGSL: memory and functions; `output` is bound as vec4<u32>. */
  readonly code: string;
  /** WGSL for the thread that has an output's `sum`, and then for all threads. */
  readonly finish: string;
  readonly leave: string;
}

/** @param width of the output */
export function wholeEnd(form: GemvForm, width: number): WholeEnd {
  const words = rowStride(width) / GROUP, quads = outputColumns(form) / 4;
  return {
    code: `var<workgroup> outputs: array<f32, ${4 * quads}>;
fn leaveWhole(word: u32, parity: u32, high: vec4<u32>, low: vec4<u32>, scale: f32) {
    output[parity * ${words}u + word] = high;
    output[(2u + parity) * ${words}u + word] = low;
    if (parity == 0u) { output[${PLANES * words}u + word] = vec4<u32>(bitcast<u32>(scale)); }
}`,
    finish: "outputs[thread] = finished(terms, sum);",
    leave: `    workgroupBarrier();
    let quad = thread % ${quads}u;
    let quadEnd = (FIRST_COLUMN + group.x * COLUMNS) / 4u + quad;
${bringFixedPoint("End", FOUR_OUTPUTS, `thread < ${quads}u`, "leaveWhole")}`,
  };
}

/** Takes them, slice by slice. */
export function wholeStage(form: GemvForm): RowStage {
  const { threads, wordsPerRow, wordsPerSlice } = form;
  const each = (line: (i: number) => string) =>
    unroll(Math.ceil((PLANES + 1) * wordsPerSlice / threads), line);
  return {
    x: "vec4<u32>",
    code: fixedPointMemory(wordsPerSlice),
    bindings: [],
    loads: each((i) =>
      `    let place${i} = thread + ${i * threads}u;
    let plane${i} = place${i} / ${wordsPerSlice}u;
    let word${i} = place${i} % ${wordsPerSlice}u;
    let held${i} = x[min(plane${i}, ${PLANES}u) * ${wordsPerRow}u + min(firstWord + word${i}, ${
        wordsPerRow - 1
      }u)];`
    ),
    bring: `${
      each((i) =>
        `    if (plane${i} < ${PLANES}u) { planes[place${i}] = held${i}; }
    else if (plane${i} == ${PLANES}u) { wordScale[word${i}] = bitcast<f32>(held${i}.x); }`
      )
    }
    workgroupBarrier();`,
  };
}
