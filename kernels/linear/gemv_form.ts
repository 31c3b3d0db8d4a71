// How the few-rows form of linear divides its work: threads, teams, weight rows at once and words in flight, from the
// weight's shape and the device's caps alone.
import type { GpuCaps } from "../../device/caps.ts";
import { type GpuMatrix, rowStride, type StorageType } from "../gpu_op.ts";
import { teamsOf } from "../layer_norm/held_row.ts";
import { ELEMENTS_PER_16_BYTES } from "../wgsl.ts";
import type { WholeType } from "./fixed_point.ts";

/** Most sums of a thread where subgroups cannot add up: four of them at a time pass through workgroup memory. */
const MOST_SUMS_WITHOUT_SUBGROUPS = 16;
/** Rows of x from which the products, and bringing x to them, count beside reading the weight. */
const MANY_ROWS = 4;
/** Rows of a weight that make enough workgroups of two rows a team. */
const MANY_WEIGHT_ROWS = 4096;
/** Words of a weight row that a thread takes at most, where more threads can share the row, and at least. */
const MOST_WORDS = 8;
const FEWEST_WORDS = 2;
/** Workgroup memory that a form needs beside x, bytes. */
export const BESIDE_BYTES = 12 * 1024;

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

/** Chooses the form for a weight; `staged` where x is brought into workgroup memory. In whole numbers: whole_gemv_form.ts. */
export function gemvForm(maxRows: GemvRows, weight: GpuMatrix, caps: GpuCaps, staged = false): GemvForm {
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
