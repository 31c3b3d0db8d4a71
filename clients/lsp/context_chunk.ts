// Pieces of files that the model is shown besides the file at the cursor, and how alike two texts are. Pure.

export interface ContextChunk {
  /** Where it is from; a newer piece of a file goes before an older one that is like it. */
  readonly uri: string;
  /** As the model reads it: from the workspace's folder on, with "/". */
  readonly filename: string;
  readonly text: string;
}

/** As llama.vim's. */
const CHUNK_LINES = 64;

/** The lines around one, 64 at most. */
export function linesAround(text: string, line: number): string {
  const lines = text.split("\n");
  const start = Math.max(0, Math.min(line - CHUNK_LINES / 2, lines.length - CHUNK_LINES));
  return lines.slice(start, start + CHUNK_LINES).join("\n");
}

/** Share of the lines of both texts that they have in common, 0 to 1 (Dice). Blank lines and indentation do not count. */
export function similarity(one: string, other: string): number {
  const left = countLines(one), right = countLines(other);
  let common = 0;
  for (const [line, count] of left) common += Math.min(count, right.get(line) ?? 0);
  const all = sum(left.values()) + sum(right.values());
  return all === 0 ? 0 : (2 * common) / all;
}

/** Share of a text's lines that stand in another, 0 to 1. */
export function containment(part: string, whole: string): number {
  const lines = countLines(part), known = countLines(whole);
  let common = 0;
  for (const [line, count] of lines) common += Math.min(count, known.get(line) ?? 0);
  const all = sum(lines.values());
  return all === 0 ? 1 : common / all;
}

function countLines(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const line of text.split("\n").map((line) => line.trim()).filter((line) => line !== "")) {
    counts.set(line, (counts.get(line) ?? 0) + 1);
  }
  return counts;
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
