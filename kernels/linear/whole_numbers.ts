// Writes the parts of kernels by which a row is left as whole numbers (fixed_point.ts), by a linear, a norm or an attention,
// and by which the next linear takes them. They lie in the output's own buffer: for each part of a word of fixed_point.ts the
// 16 bytes of every word, then for every word 16 that begin with its scale.
import type { GpuCaps } from "../../device/caps.ts";
import { type GpuMatrix, rowStride } from "../gpu_op.ts";
import { teamsOf } from "../layer_norm/held_row.ts";
import { storeFixedPoint, type WholeType, WORD_COLUMNS, WORD_PARTS } from "./fixed_point.ts";
import { type GemvForm, outputColumns } from "./gemv_form.ts";
import type { WholeWords } from "./row_stage.ts";
import { wholeGemvForm, wholeTypeOf } from "./whole_gemv_form.ts";

/** Threads of a kernel whose subgroups are known, if any are. */
const THREADS = 256;

/** Whether a linear of this weight can leave whole numbers of a type: its workgroups make whole words of columns. */
export function leavesWholeNumbers(weight: GpuMatrix, leaves: WholeType, caps: GpuCaps): boolean {
  const type = wholeTypeOf(1, weight, caps);
  if (!type || rowStride(weight.rows) !== weight.rows) return false;
  const wordColumns = WORD_COLUMNS[leaves];
  return [false, true].every((isWhole) => {
    const columns = outputColumns(wholeGemvForm(type, weight, caps, { isWhole, leaves }));
    return columns % wordColumns === 0 &&
      weight.shards.every(({ firstRow, numRows }) => firstRow % wordColumns === 0 && numRows % columns === 0);
  });
}

/** How a linear ends that leaves its output so. */
export interface WholeEnd {
  /** WGSL: memory and functions; `output` is bound as u32. */
  readonly code: string;
  /** WGSL for the thread that has an output's `sum`, and then for all threads. */
  readonly finish: string;
  readonly leave: string;
}

/** @param width of the output */
export function wholeEnd(form: GemvForm, type: WholeType, width: number): WholeEnd {
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
${leaveWholeNumbers(0, "four0", "held0", "output", type, width)}
    }`,
  };
}

/** Whether kernels that make a row of `width` in fours, neighbouring lanes a word, can leave it so. */
export function packsWholeNumbers(width: number, type: WholeType, caps: GpuCaps): boolean {
  return width % WORD_COLUMNS[type] === 0 && rowStride(width) === width && teamsOf(THREADS, caps).subgroups;
}

/** WGSL for all threads of such a kernel: leaves the `quad<i>`th four in `buffer`, an array<u32>. */
export function leaveWholeNumbers(
  i: number,
  value: string,
  held: string,
  buffer: string,
  type: WholeType,
  width: number,
): string {
  const words = rowStride(width) / WORD_COLUMNS[type];
  return storeFixedPoint(i, value, held, {
    type,
    parts: buffer,
    words,
    storeScale: (scale) => `${buffer}[4u * (${WORD_PARTS[type] * words}u + word)] = bitcast<u32>(${scale});`,
  });
}

/** Takes them. */
export function wholeWords(type: WholeType, wordsPerRow: number): WholeWords {
  const part = (i: number, at: string) => `x[${i * wordsPerRow}u + ${at}]`;
  return {
    wordAt: (at) => {
      const parts = Array.from({ length: WORD_PARTS[type] }, (_, i) => part(i, at));
      return `WholeWord(${parts.join(", ")}, bitcast<f32>(${part(WORD_PARTS[type], at)}.x))`;
    },
  };
}
