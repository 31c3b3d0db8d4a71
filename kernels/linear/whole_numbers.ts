// Writes the parts of the one-row form of linear by which it leaves its output as whole numbers (fixed_point.ts), and by
// which the next one takes them. They lie in the output's own buffer: for each of the four memories of fixed_point.ts the
// 16 bytes of every word, then for every word 16 that begin with its scale.
import type { GpuCaps } from "../../device/caps.ts";
import { type GpuMatrix, rowStride } from "../gpu_op.ts";
import { GROUP } from "../int4.ts";
import { unroll } from "../wgsl.ts";
import { fixedPointMemory } from "./fixed_point.ts";
import { type GemvForm, gemvForm, outputColumns, usesFixedPoint } from "./gemv_form.ts";
import type { RowStage } from "./row_stage.ts";

const MEMORIES = ["evenHigh", "oddHigh", "evenLow", "oddLow"] as const;

/** Whether a linear of this weight can leave whole numbers: its workgroups make whole groups of columns. */
export function leavesWholeNumbers(weight: GpuMatrix, caps: GpuCaps): boolean {
  if (!usesFixedPoint(1, weight, caps)) return false;
  const columns = outputColumns(gemvForm(1, weight, caps, true));
  return columns % GROUP === 0 &&
    weight.shards.every(({ firstRow, numRows }) => firstRow % GROUP === 0 && numRows % columns === 0);
}

/** How a kernel ends that leaves its output so. */
export interface WholeEnd {
  /** WGSL: memory and functions, beside those of fixed_point.ts; `output` is bound as u32. */
  readonly code: string;
  /** WGSL for the thread that has an output's `sum`, and then for all threads. */
  readonly finish: string;
  readonly leave: string;
}

/** @param width of the output */
export function wholeEnd(form: GemvForm, width: number): WholeEnd {
  const words = rowStride(width) / GROUP, columns = outputColumns(form);
  const place = (memory: string) => `4u * (${memory} * ${words}u + word)`;
  return {
    code: `var<workgroup> outputs: array<f32, ${columns}>;
fn bytesOf(four: vec4<i32>) -> u32 {
    let bytes = bitcast<vec4<u32>>(four) & vec4<u32>(0xffu);
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}
/** Of a group's eight threads each has four even columns or four odd ones. */
fn leaveWhole(word: u32, first: u32, thread: u32) {
    // By their bits, which no NaN or infinity gets lost in.
    var most = 0u;
    for (var i = 0u; i < ${GROUP}u; i++) { most = max(most, bitcast<u32>(outputs[first + i]) & 0x7fffffffu); }
    let size = bitcast<f32>(most);
    let parity = thread / 4u;
    let at = first + thread % 4u * 8u + parity;
    let four = vec4<f32>(outputs[at], outputs[at + 2u], outputs[at + 4u], outputs[at + 6u]);
    let whole = wholeOf(four, size);
    let high = highOf(whole);
    output[${place("parity")} + thread % 4u] = bytesOf(high);
    output[${place("(2u + parity)")} + thread % 4u] = bytesOf(whole - (high << vec4<u32>(8u)));
    if (thread == 0u) { output[${place(`${MEMORIES.length}u`)}] = bitcast<u32>(scaleOf(size)); }
}`,
    finish: "outputs[thread] = finished(terms, sum);",
    leave: `    workgroupBarrier();
    if (thread < ${columns / 4}u) {
        let word = thread / 8u;
        leaveWhole((FIRST_COLUMN + group.x * COLUMNS) / ${GROUP}u + word, word * ${GROUP}u, thread % 8u);
    }`,
  };
}

/** Takes them, slice by slice. */
export function wholeStage(form: GemvForm): RowStage {
  const { threads, wordsPerRow, wordsPerSlice } = form;
  const each = (line: (i: number) => string) =>
    unroll(Math.ceil((MEMORIES.length + 1) * wordsPerSlice / threads), line);
  return {
    x: "vec4<u32>",
    code: fixedPointMemory(wordsPerSlice),
    bindings: [],
    loads: each((i) =>
      `    let memory${i} = (thread + ${i * threads}u) / ${wordsPerSlice}u;
    let word${i} = (thread + ${i * threads}u) % ${wordsPerSlice}u;
    let held${i} = x[min(memory${i}, ${MEMORIES.length}u) * ${wordsPerRow}u + min(firstWord + word${i}, ${
        wordsPerRow - 1
      }u)];`
    ),
    bring: `${
      each((i) =>
        `    switch memory${i} {
${MEMORIES.map((name, m) => `        case ${m}u: { ${name}[word${i}] = held${i}; }`).join("\n")}
        case ${MEMORIES.length}u: { wordScale[word${i}] = bitcast<f32>(held${i}.x); }
        default: {}
    }`
      )
    }
    workgroupBarrier();`,
  };
}
