// How a map of blocks is laid out in cells, and which of its letters a cell shows. Pure.

const MIN_CELL = 4;
const MAX_CELL = 14;
/** For how many readings a change can be seen. */
const GLOW = 3;
const BUSIEST_FIRST = "shc.";

export interface MapLayout {
  /** Pixels of a cell's side, the gap to the next included. */
  readonly cell: number;
  readonly columns: number;
  /** Blocks that a cell stands for. */
  readonly perCell: number;
}

/** The largest cells of which all fit; once they would be too small to see, several blocks a cell. */
export function layOut(blocks: number, width: number, height: number): MapLayout {
  for (let perCell = 1;; perCell *= 2) {
    const cells = Math.ceil(blocks / perCell);
    for (let cell = MAX_CELL; cell >= MIN_CELL; cell -= 0.5) {
      const columns = Math.floor(width / cell);
      if (columns * Math.floor(height / cell) >= cells) return { cell, columns, perCell };
    }
  }
}

/** Of some letters that of most use to somebody now. */
export function busiest(letters: string, first: number, count: number): string {
  const some = letters.slice(first, first + count);
  return [...BUSIEST_FIRST].find((letter) => some.includes(letter)) ?? ".";
}

/** By block: for how many readings more it is to be seen that the block has changed. */
export function changes(before: string, after: string, glow: Uint8Array): Uint8Array<ArrayBuffer> {
  const same = before.length === after.length;
  return Uint8Array.from({ length: after.length }, (_, block) => {
    if (same && before[block] !== after[block]) return GLOW;
    return Math.max(0, (glow[block] ?? 0) - 1);
  });
}
