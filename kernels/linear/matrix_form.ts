// How linear for many rows on a GPU with matrix units divides its work: a tile of the output for each workgroup, a part of
// it for each subgroup, in fragments. matrix_code.ts writes it out.
import type { GpuCaps, MatrixFragment } from "../../device/caps.ts";

/** How a workgroup divides its tile of the output. */
export interface MatrixForm {
  readonly fragment: MatrixFragment;
  /** Whether weight rows, and not rows of x, lie along the fragment's m: for fewer rows of x than m. */
  readonly swapped: boolean;
  /** Threads of a subgroup. */
  readonly lanes: number;
  /** Subgroups below and beside one another, and how many share the depth of each such part. */
  readonly subgroupsDown: number;
  readonly subgroupsAcross: number;
  readonly subgroupsDeep: number;
  /** Fragments of a subgroup's part, below and beside one another. */
  readonly fragmentsDown: number;
  readonly fragmentsAcross: number;
  /** Columns of x that go through workgroup memory at once. */
  readonly depth: number;
  /** Depths that are on their way from global memory meanwhile. */
  readonly ahead: 1 | 2 | 3;
}

/** Rows of x in a tile of any form, at most. */
export const MOST_TILE_ROWS = 128;

/** Rows of x in a fragment, and rows of the weight. */
export function fragmentRows({ fragment, swapped }: MatrixForm): number {
  return swapped ? fragment.n : fragment.m;
}

export function fragmentColumns({ fragment, swapped }: MatrixForm): number {
  return swapped ? fragment.m : fragment.n;
}

/** Rows of x in a tile. */
export function tileRows(form: MatrixForm): number {
  return form.subgroupsDown * form.fragmentsDown * fragmentRows(form);
}

/** Rows of the weight in a tile. */
export function tileColumns(form: MatrixForm): number {
  return form.subgroupsAcross * form.fragmentsAcross * fragmentColumns(form);
}

export function threadsOf({ lanes, subgroupsDown, subgroupsAcross, subgroupsDeep }: MatrixForm): number {
  return lanes * subgroupsDown * subgroupsAcross * subgroupsDeep;
}

/** Fours of a row of a subgroup's part. */
export function patchQuads(form: MatrixForm): number {
  return form.fragmentsAcross * fragmentColumns(form) / 4;
}

/** Workgroup memory of a form, in words: its tiles or, in the end, its patches of sums. */
export function memoryWords(form: MatrixForm): number {
  const tiles = (tileRows(form) + tileColumns(form)) * (form.depth / 8 + 1);
  const patches = threadsOf(form) / form.lanes * fragmentRows(form) * (patchQuads(form) + 1);
  return Math.max(tiles, patches);
}

/** Whether the form can be written: x is stored for tiles as high, its weights and its sums divide evenly among the threads, and its memory suffices. */
export function canBeWritten(form: MatrixForm, { maxWorkgroupBytes, maxInvocations }: GpuCaps): boolean {
  const { lanes, subgroupsDeep, depth, fragment } = form, threads = threadsOf(form);
  const weightWords = [8, 16, 32].map((elements) => tileColumns(form) * depth / elements);
  return weightWords.every((count) => count % threads === 0 || threads % count === 0) && depth % 32 === 0 &&
    depth / fragment.k % subgroupsDeep === 0 && subgroupsDeep * lanes % patchQuads(form) === 0 &&
    tileRows(form) <= MOST_TILE_ROWS && threads <= maxInvocations &&
    memoryWords(form) * 16 <= maxWorkgroupBytes;
}

/** Of the product that a form is to make. */
export interface MatrixSizes {
  readonly type: "f16" | "i8" | "i4";
  /** Word of the control buffer that holds the number of rows. */
  readonly numRowsWord: number;
  /** 16-byte words of a row of x, a multiple of the form's depth, and of the weight. */
  readonly xWords: number;
  readonly weightWords: number;
  readonly shardRows: number;
  readonly firstColumn: number;
  /** Fours of a row of the output. */
  readonly outputQuads: number;
}
