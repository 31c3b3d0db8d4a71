// How the one-row form in whole numbers (whole_gemv.wgsl) divides its work: threads, the rows of the weight that a team has
// at once, and blocks, from the weight's shape and the device's caps alone.
import type { GpuCaps } from "../../device/caps.ts";
import { CORES } from "../cores.ts";
import { type GpuMatrix, rowStride } from "../gpu_op.ts";
import { teamsOf } from "../layer_norm/held_row.ts";
import { bytesPerWord, type WholeType, WORD_COLUMNS } from "./fixed_point.ts";
import { BESIDE_BYTES, type GemvForm, type GemvRows } from "./gemv_form.ts";

/** Of whole numbers: threads that share a row at most, threads of a workgroup that are enough, rows that a team has at once. */
const MOST_ROW_THREADS = 768;
const ENOUGH_THREADS = 512;
const WHOLE_NUMBER_ROWS = 4;
/**
 * Where x lies in whole numbers already, so that threads need not wait for one another before they multiply, and a row takes
 * so many of them, more are enough; of so many more each has registers for two rows only.
 */
const LONG_ROW_THREADS = 256;
const ENOUGH_OF_LONG_ROWS = 1024;
const ROWS_OF_MANY_THREADS = 2;
/** Workgroups that are enough for a large GPU, threads that a core works on at once, and most blocks of a workgroup. */
const ENOUGH_WORKGROUPS = 256;
const THREADS_AT_ONCE = 768;
const MOST_BLOCKS = 12;
/** Threads of a workgroup beside which a core has room for as many, and workgroups for each core that are few. */
const THREADS_BESIDE_AS_MANY = 512;
const FEW_LEFT_OVER = 0.1;
/** Turns that are as good as the fewest, of those. */
const NEARLY = 1.05;
/** Workgroup memory that a norm on the way needs, bytes; what else is left decides the blocks. */
const BESIDE_BLOCKS = 1024;
/** Along one dimension of a grid. */
const MOST_WORKGROUPS = 65_535;

/** The storage of a weight that one row is multiplied by in whole numbers; x has to go through workgroup memory then. */
export function wholeTypeOf(maxRows: GemvRows, { type }: GpuMatrix, caps: GpuCaps): WholeType | undefined {
  if (maxRows > 1 || (type !== "i4" && type !== "i8")) return undefined;
  return teamsOf(256, caps).subgroups ? type : undefined;
}

/** Whether x was left as whole numbers, and as which the output is to be. */
export interface WholeValues {
  readonly isWhole?: boolean;
  readonly leaves?: WholeType | undefined;
}

/**
 * A thread has the same columns of every row of the weight, a word or a few, and so its share of x in registers; it has one
 * block's rows on their way while it multiplies those of the one before.
 */
export function wholeGemvForm(
  wholeType: WholeType,
  weight: GpuMatrix,
  caps: GpuCaps,
  { isWhole = false, leaves }: WholeValues,
): GemvForm {
  const { lanes } = teamsOf(256, caps), wordElements = WORD_COLUMNS[wholeType];
  const wordsPerRow = rowStride(weight.columns) / wordElements;
  const fitting = isWhole
    ? Infinity
    : Math.floor((caps.maxWorkgroupBytes - BESIDE_BYTES) / bytesPerWord(wholeType));
  const mostParts = Math.max(1, Math.floor(Math.min(MOST_ROW_THREADS, caps.maxInvocations, fitting) / lanes));
  const wordsPerTurn = Math.ceil(wordsPerRow / (mostParts * lanes));
  const parts = Math.ceil(wordsPerRow / (wordsPerTurn * lanes));
  const enough = isWhole && parts * lanes >= LONG_ROW_THREADS ? ENOUGH_OF_LONG_ROWS : ENOUGH_THREADS;
  const mostRowTeams = Math.min(enough, caps.maxInvocations) / (parts * lanes);
  const rowTeams = mostRowTeams < 2 ? 1 : 2 ** Math.floor(Math.log2(mostRowTeams));
  const threads = rowTeams * parts * lanes, wordsPerSlice = Math.min(wordsPerRow, parts * lanes);
  const memory = caps.maxWorkgroupBytes - BESIDE_BLOCKS -
    (isWhole ? 0 : wordsPerSlice * bytesPerWord(wholeType));
  let teamRows = Math.min(threads > MOST_ROW_THREADS ? ROWS_OF_MANY_THREADS : WHOLE_NUMBER_ROWS, lanes);
  while (teamRows > 1 && weight.rows < rowTeams * teamRows * ENOUGH_WORKGROUPS) teamRows /= 2;
  return {
    threads,
    lanes,
    teamRows,
    parts,
    maxRows: 1,
    type: wholeType,
    wordElements,
    subgroups: true,
    wordsPerTurn,
    wordsPerRow,
    wordsPerSlice,
    blocks: blocksOf(weight.rows, { threads, parts, columns: rowTeams * teamRows, leaves, memory }),
    wholeType,
  };
}

/** A block, and what a workgroup has for several. */
interface Block {
  readonly threads: number;
  readonly parts: number;
  readonly columns: number;
  readonly leaves: WholeType | undefined;
  /** Bytes of workgroup memory for the sums of all. */
  readonly memory: number;
}

/**
 * As many as take the cores the fewest turns, or nearly, each as long as a block, and of those the most, which bring x least
 * often. A few workgroups that are left over cost no turn where they have room beside the others. Where the output is left as
 * whole numbers, workgroups have whole words of it, and all of them as many.
 */
function blocksOf(weightRows: number, { threads, parts, columns, leaves, memory }: Block): number {
  const perCore = Math.max(1, Math.floor(THREADS_AT_ONCE / threads)), atOnce = CORES * perCore;
  const bytesOfBlock = 4 * columns * (parts + (leaves ? 1 : 0));
  const mostBlocks = Math.min(MOST_BLOCKS, Math.floor(threads / columns), Math.floor(memory / bytesOfBlock));
  const workgroups = (blocks: number) => Math.ceil(weightRows / (columns * blocks));
  const few = perCore === 1 && threads <= THREADS_BESIDE_AS_MANY ? FEW_LEFT_OVER : 0;
  const turns = (blocks: number) => Math.max(1, Math.ceil(workgroups(blocks) / atOnce - few)) * blocks;
  const leavesWords = (outputs: number) =>
    !leaves || (outputs % WORD_COLUMNS[leaves] === 0 && weightRows % outputs === 0);
  const fitting = Array.from({ length: Math.max(1, mostBlocks) }, (_, i) => i + 1)
    .filter((blocks) => workgroups(blocks) <= MOST_WORKGROUPS);
  const leaving = fitting.filter((blocks) => leavesWords(blocks * columns));
  // Where none can leave its output so, whoever asks will find that out from the form.
  const candidates = leaving.length > 0 ? leaving : fitting;
  const fewest = Math.min(...candidates.map(turns));
  return candidates.findLast((blocks) => turns(blocks) <= NEARLY * fewest) ?? 1;
}
