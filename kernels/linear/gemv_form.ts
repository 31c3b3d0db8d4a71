// How the few-rows form of linear divides its work: threads, teams, weight rows at once and words in flight, from the
// weight's shape and the device's caps alone.
import type { GpuCaps } from "../../device/caps.ts";
import { CORES } from "../cores.ts";
import { type GpuMatrix, rowStride, type StorageType } from "../gpu_op.ts";
import { teamsOf } from "../layer_norm/held_row.ts";
import { ELEMENTS_PER_16_BYTES } from "../wgsl.ts";
import { bytesPerWord, type WholeType, WORD_COLUMNS } from "./fixed_point.ts";

/** Most sums of a thread where subgroups cannot add up: four of them at a time pass through workgroup memory. */
const MOST_SUMS_WITHOUT_SUBGROUPS = 16;
/** Rows of x from which the products, and bringing x to them, count beside reading the weight. */
const MANY_ROWS = 4;
/** Rows of a weight that make enough workgroups of two rows a team. */
const MANY_WEIGHT_ROWS = 4096;
/** Words of a weight row that a thread takes at most, where more threads can share the row, and at least. */
const MOST_WORDS = 8;
const FEWEST_WORDS = 2;
/** Workgroup memory that a form needs beside x, bytes; of whole numbers what a norm needs, the rest decides the blocks. */
export const BESIDE_BYTES = 12 * 1024;
const BESIDE_BLOCKS = 1024;
/** Along one dimension of a grid. */
const MOST_WORKGROUPS = 65_535;
/** Of whole numbers: threads that share a row at most, threads of a workgroup that are enough, rows that a team has at once. */
const MOST_ROW_THREADS = 768;
const ENOUGH_THREADS = 384;
const WHOLE_NUMBER_ROWS = 4;
/** Workgroups that are enough for a large GPU, threads that a core works on at once, and most blocks of a workgroup. */
const ENOUGH_WORKGROUPS = 256;
const THREADS_AT_ONCE = 768;
const MOST_BLOCKS = 12;

/** The most rows of x that this form is written for. */
export type GemvRows = 1 | 2 | 4 | 8;

export interface GemvForm {
  /** Rows of x that the code is written for. */
  readonly maxRows: GemvRows;
  readonly type: StorageType;
  readonly threads: number;
  /**
   * Elements of a word of the weight: what 16 bytes hold where only reading counts; the fewest of a whole u32 for many
   * rows of x, whose words then lie side by side for neighbouring threads, and for int4 where x is read where it lies.
   */
  readonly wordElements: number;
  /** Threads of a team. */
  readonly lanes: number;
  /** Whether a team is exactly a subgroup. */
  readonly subgroups: boolean;
  /** Weight rows that a team works on at once. */
  readonly teamRows: number;
  /** Teams that share the words of a row. */
  readonly parts: number;
  /** Times over that a workgroup does this, for as many further rows of the weight: of whole numbers alone. */
  readonly blocks: number;
  /** Words of each of its rows that a thread asks for before it needs the first. */
  readonly wordsPerTurn: number;
  readonly wordsPerRow: number;
  /** Words whose columns of x lie in workgroup memory at once, where x goes through it. */
  readonly wordsPerSlice: number;
  /** Where products are of whole numbers: fixed_point.ts. */
  readonly wholeType?: WholeType;
}

interface FormWanted {
  readonly staged?: boolean;
  readonly isWhole?: boolean;
  readonly leaves?: WholeType | undefined;
}

/** The storage of a weight that one row is multiplied by in whole numbers; x has to go through workgroup memory then. */
export function wholeTypeOf(maxRows: GemvRows, { type }: GpuMatrix, caps: GpuCaps): WholeType | undefined {
  if (maxRows > 1 || (type !== "i4" && type !== "i8")) return undefined;
  return teamsOf(256, caps).subgroups ? type : undefined;
}

/**
 * Chooses the form for a weight; `staged` where x is brought into workgroup memory, `isWhole` where it was left as whole
 * numbers, `leaves` the type of those that the output is left as.
 */
export function gemvForm(
  maxRows: GemvRows,
  weight: GpuMatrix,
  caps: GpuCaps,
  { staged = false, isWhole = false, leaves }: FormWanted = {},
): GemvForm {
  const type = staged ? wholeTypeOf(maxRows, weight, caps) : undefined;
  if (type) return wholeNumberForm(type, weight, caps, isWhole, leaves);
  const many = maxRows >= MANY_ROWS;
  const large = many && caps.subgroups && caps.maxInvocations >= 512;
  const { threads, lanes, subgroups } = teamsOf(large ? 512 : 256, caps);
  const wordElements = wordElementsOf(weight.type, many, staged);
  const wordsPerRow = rowStride(weight.columns) / wordElements;
  const teamRows = teamRowsOf(maxRows, weight.rows, subgroups ? lanes : MOST_SUMS_WITHOUT_SUBGROUPS);
  const division = { threads, lanes, teamRows, wordsPerRow };
  const parts = partsOf(division, weight.rows, maxRows);
  const words = Math.ceil(wordsPerRow / (parts * lanes));
  const most = Math.min(Math.max(1, (many ? 16 : 8) / teamRows), words);
  return {
    ...{ ...division, maxRows, type: weight.type, wordElements, subgroups, parts, blocks: 1 },
    wordsPerSlice: wordsPerRow,
    // Turns as long as each other.
    wordsPerTurn: Math.ceil(words / Math.ceil(words / most)),
  };
}

/**
 * A thread has the same columns of every row of the weight, a word or a few, and so its share of x in registers; it has one
 * block's rows on their way while it multiplies those of the one before.
 */
function wholeNumberForm(
  wholeType: WholeType,
  weight: GpuMatrix,
  caps: GpuCaps,
  isWhole: boolean,
  leaves: WholeType | undefined,
): GemvForm {
  const { lanes } = teamsOf(256, caps), wordElements = WORD_COLUMNS[wholeType];
  const wordsPerRow = rowStride(weight.columns) / wordElements;
  const fitting = isWhole
    ? Infinity
    : Math.floor((caps.maxWorkgroupBytes - BESIDE_BYTES) / bytesPerWord(wholeType));
  const mostParts = Math.max(1, Math.floor(Math.min(MOST_ROW_THREADS, caps.maxInvocations, fitting) / lanes));
  const wordsPerTurn = Math.ceil(wordsPerRow / (mostParts * lanes));
  const parts = Math.ceil(wordsPerRow / (wordsPerTurn * lanes));
  const mostRowTeams = Math.min(ENOUGH_THREADS, caps.maxInvocations) / (parts * lanes);
  const rowTeams = mostRowTeams < 2 ? 1 : 2 ** Math.floor(Math.log2(mostRowTeams));
  const threads = rowTeams * parts * lanes, wordsPerSlice = Math.min(wordsPerRow, parts * lanes);
  const memory = caps.maxWorkgroupBytes - BESIDE_BLOCKS -
    (isWhole ? 0 : wordsPerSlice * bytesPerWord(wholeType));
  let teamRows = Math.min(WHOLE_NUMBER_ROWS, lanes);
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
 * As many as take the cores the fewest turns, each as long as a block, and of those the most, which bring x least often.
 * Where the output is left as whole numbers, workgroups have whole words of it.
 */
function blocksOf(weightRows: number, { threads, parts, columns, leaves, memory }: Block): number {
  const atOnce = CORES * Math.max(1, Math.floor(THREADS_AT_ONCE / threads));
  const bytesOfBlock = 4 * columns * (parts + (leaves ? 1 : 0));
  const most = Math.min(MOST_BLOCKS, Math.floor(threads / columns), Math.floor(memory / bytesOfBlock));
  const workgroups = (blocks: number) => Math.ceil(weightRows / (columns * blocks));
  const turns = (blocks: number) => Math.ceil(workgroups(blocks) / atOnce) * blocks;
  const candidates = Array.from({ length: Math.max(1, most) }, (_, i) => i + 1).filter((blocks) =>
    workgroups(blocks) <= MOST_WORKGROUPS && (!leaves || blocks * columns % WORD_COLUMNS[leaves] === 0)
  );
  return candidates.reduce(
    (best, blocks) => turns(blocks) <= turns(best) ? blocks : best,
    candidates[0] ?? 1,
  );
}

function wordElementsOf(type: StorageType, many: boolean, staged: boolean): number {
  if (type === "i4") return staged ? ELEMENTS_PER_16_BYTES.i4 : 8;
  return many ? 4 : ELEMENTS_PER_16_BYTES[type];
}

/** Few weight rows leave a GPU with too few teams; many sums a thread cost registers. */
function teamRowsOf(maxRows: GemvRows, weightRows: number, mostSums: number): number {
  const wanted = maxRows > 1 ? 4 : weightRows < MANY_WEIGHT_ROWS ? 1 : 2;
  return Math.max(1, Math.min(wanted, mostSums / maxRows));
}

/**
 * Teams that share a row: so many that a thread has few words of it, which can all be in flight, and that there are
 * enough workgroups to fill a large GPU; fewer for many rows of x, as each workgroup reads all of it.
 */
function partsOf(
  { threads, lanes, teamRows, wordsPerRow }: Pick<
    GemvForm,
    "threads" | "lanes" | "teamRows" | "wordsPerRow"
  >,
  weightRows: number,
  maxRows: GemvRows,
): number {
  const many = maxRows >= MANY_ROWS;
  const wantedWorkgroups = maxRows > MANY_ROWS ? 128 : many ? 256 : 512;
  const words = (parts: number) => wordsPerRow / (parts * lanes);
  const workgroups = (parts: number) => weightRows / (threads / (lanes * parts) * teamRows);
  let parts = 1;
  while (
    2 * parts * lanes <= threads && words(2 * parts) >= FEWEST_WORDS &&
    ((!many && words(parts) > MOST_WORDS) || workgroups(parts) < wantedWorkgroups)
  ) parts *= 2;
  return parts;
}

/** Output columns of a workgroup. */
export function outputColumns({ threads, teamRows, lanes, parts, blocks }: GemvForm): number {
  return threads / (lanes * parts) * teamRows * blocks;
}

/** Workgroups for a shard of `shardRows` weight rows. */
export function gemvWorkgroups(form: GemvForm, shardRows: number): number {
  return Math.ceil(shardRows / outputColumns(form));
}
