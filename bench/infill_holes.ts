// Holes in real code: the rest of a line from a random column, blanks and the middles of words included.
import { type SourceFile } from "./load/code_corpus.ts";
import type { SeededRandom } from "./load/seeded_random.ts";

/** What stands around the cursor, by which token healing may matter. */
export const PLACES = ["inside a word", "after a blank", "elsewhere"] as const;
export type Place = (typeof PLACES)[number];

export interface Hole {
  readonly prefix: string;
  /** The removed rest of the line, without its line break. */
  readonly rest: string;
  readonly suffix: string;
  readonly place: Place;
}

/** Units (UTF-16) before and after the cursor that a request shows. */
export interface HoleWindow {
  readonly before: number;
  readonly after: number;
}

/** Holes of lines with something to guess, each in a file chosen anew; the same for the same seed. */
export function digHoles(
  files: readonly SourceFile[],
  count: number,
  random: SeededRandom,
  { before, after }: HoleWindow,
): Hole[] {
  const holes: Hole[] = [];
  while (holes.length < count) {
    const { lines } = random.pick(files), row = random.below(lines.length);
    const line = lines[row].trimEnd(), indent = line.length - line.trimStart().length;
    if (line === "" || /[^ -~]/.test(line)) continue;
    const column = indent + random.below(line.length - indent);
    const prefix = [...lines.slice(0, row), line.slice(0, column)].join("\n");
    const suffix = ["", ...lines.slice(row + 1)].join("\n");
    holes.push({
      prefix: prefix.slice(-before),
      rest: line.slice(column),
      suffix: suffix.slice(0, after),
      place: placeOf(line, column),
    });
  }
  return holes;
}

function placeOf(line: string, column: number): Place {
  if (/^\w\w$/.test(line.slice(column - 1, column + 1))) return "inside a word";
  return column === 0 || line[column - 1] === " " ? "after a blank" : "elsewhere";
}
