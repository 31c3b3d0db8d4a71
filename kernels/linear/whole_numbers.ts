// Writes the parts of kernels by which a row is left as whole numbers (fixed_point.ts), by a linear, a norm or an attention,
// and by which the next linear takes them. They lie in the output's own buffer: for each of the four memories of fixed_point.ts the
// 16 bytes of every word, then for every word 16 that begin with its scale.
import type { GpuCaps } from "../../device/caps.ts";
import { type GpuMatrix, rowStride } from "../gpu_op.ts";
import { GROUP } from "../int4.ts";
import { teamsOf } from "../layer_norm/held_row.ts";
import { storeFixedPoint } from "./fixed_point.ts";
import { type GemvForm, gemvForm, outputColumns, usesFixedPoint } from "./gemv_form.ts";
import type { WholeWords } from "./row_stage.ts";

/** Threads of a kernel whose subgroups are known, if any are. */
const THREADS = 256;
/** Parts of a word: fixed_point.ts. */
const MEMORIES = 4;

/** Whether a linear of this weight can leave whole numbers: its workgroups make whole groups of columns. */
export function leavesWholeNumbers(weight: GpuMatrix, caps: GpuCaps): boolean {
  if (!usesFixedPoint(1, weight, caps)) return false;
  return [false, true].every((isWhole) => {
    const columns = outputColumns(gemvForm(1, weight, caps, { staged: true, isWhole, leaves: true }));
    return columns % GROUP === 0 &&
      weight.shards.every(({ firstRow, numRows }) => firstRow % GROUP === 0 && numRows % columns === 0);
  });
}

/** How a linear ends that leaves its output so. */
export interface WholeEnd {
  /** WGSL: memory, beside what is in fixed_point.ts; `output` is bound as u32. */
  readonly code: string;
  /** WGSL for the thread that has an output's `sum`, and then for all threads. */
  readonly finish: string;
  readonly leave: string;
}

/** @param width of the output */
export function wholeEnd(form: GemvForm, width: number): WholeEnd {
  const columns = outputColumns(form);
  return {
    code: `var<workgroup> outputs: array<f32, ${columns}>;`,
    finish: "outputs[thread] = finished(terms, sum);",
    leave: `    workgroupBarrier();
    {
        let quad0 = (FIRST_COLUMN + group.x * COLUMNS) / 4u + thread;
        let held0 = thread < ${columns / 4}u;
        let at = 4u * min(thread, ${columns / 4 - 1}u);
        let four0 = vec4<f32>(outputs[at], outputs[at + 1u], outputs[at + 2u], outputs[at + 3u]);
${leaveWholeNumbers(0, "four0", "held0", "output", width)}
    }`,
  };
}

/** Whether kernels that make a row of `width` in fours, eight neighbouring lanes a word, can leave it so. */
export function packsWholeNumbers(width: number, caps: GpuCaps): boolean {
  return width % GROUP === 0 && rowStride(width) === width && teamsOf(THREADS, caps).subgroups;
}

/** WGSL for all threads of such a kernel: leaves the `quad<i>`th four in `buffer`, an array<u32>. */
export function leaveWholeNumbers(
  i: number,
  value: string,
  held: string,
  buffer: string,
  width: number,
): string {
  const words = rowStride(width) / GROUP;
  return storeFixedPoint(i, value, held, {
    parts: buffer,
    words,
    storeScale: (scale) => `${buffer}[4u * (${MEMORIES * words}u + word)] = bitcast<u32>(${scale});`,
  });
}

/** Takes them, of a row of the weight of so many words. */
export function wholeWords(wordsPerRow: number): WholeWords {
  return {
    wordAt: (at) =>
      `WholeWord(${
        Array.from({ length: MEMORIES }, (_, m) => `x[${m * wordsPerRow}u + ${at}]`).join(", ")
      }, bitcast<f32>(x[${MEMORIES * wordsPerRow}u + ${at}].x))`,
  };
}
