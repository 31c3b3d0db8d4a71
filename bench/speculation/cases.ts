// Completions of real code with more and with less to copy from: ordinary ones, lists that go on, edits that are
// repeated, and a second question at the same place.
import type { GenerationRequest, Prompt } from "../../engine/request.ts";
import type { SourceFile } from "../load/code_corpus.ts";
import type { SeededRandom } from "../load/seeded_random.ts";

export const KINDS = ["ordinary", "list", "edit", "again"] as const;
export type Kind = typeof KINDS[number];

/** Requests to be sent one after the other; the last is measured. */
export type Case = readonly GenerationRequest[];

const LINES_BEFORE = 100, LINES_AFTER = 32;
const NEW_TOKENS = 64;
/** Lines of one shape in a row that make a list. */
const LIST_LINES = 4;
const EDITED_LINES = 24;
const MOST_TRIES = 50_000;

/**
 * `count` cases of a kind, in files chosen by the seed.
 * @throws {Error} when the files have nothing of the kind
 */
export function makeCases(
  kind: Kind,
  files: readonly SourceFile[],
  random: SeededRandom,
  count: number,
): Case[] {
  const cases: Case[] = [];
  for (let tries = 0; cases.length < count; tries++) {
    if (tries === MOST_TRIES) throw new Error(`Cannot measure: hardly any code for "${kind}"; add a folder`);
    const made = MAKERS[kind](random.pick(files).lines, random);
    if (made) cases.push(made);
  }
  return cases;
}

const MAKERS: Record<Kind, (lines: readonly string[], random: SeededRandom) => Case | undefined> = {
  ordinary: (lines, random) => [infillAt(lines, random.below(lines.length))],
  list: continuedList,
  edit: repeatedEdit,
  again: askedAgain,
};

/** An infill after `line` whole lines of the file. */
function infillAt(lines: readonly string[], line: number): GenerationRequest {
  const prefix = lines.slice(Math.max(0, line - LINES_BEFORE), line).map((text) => text + "\n").join("");
  const suffix = lines.slice(line, line + LINES_AFTER).join("\n");
  return request({ kind: "infill", prefix, suffix });
}

function request(prompt: Prompt): GenerationRequest {
  return { prompt, maxTokens: NEW_TOKENS, temperature: 0 };
}

/** Where lines of one shape begin to repeat themselves, with those to come taken out. */
function continuedList(lines: readonly string[], random: SeededRandom): Case | undefined {
  const start = LIST_LINES + random.below(lines.length);
  const shape = shapeOf(lines[start] ?? "");
  let end = start;
  while (end < lines.length && shapeOf(lines[end]) === shape) end++;
  const before = lines.slice(start - LIST_LINES, start);
  if (shape.length < 6 || end - start < 2 || !before.every((line) => shapeOf(line) === shape)) {
    return undefined;
  }
  return [infillAt(lines.toSpliced(start, end - start), start)];
}

/** A line without what differs between the entries of a list. */
function shapeOf(line: string): string {
  return line.replaceAll(/"[^"]*"|'[^']*'|\w+/g, "a");
}

/** A part of the file as it was, then the same with a name changed, a third of which is there. */
function repeatedEdit(lines: readonly string[], random: SeededRandom): Case | undefined {
  const start = random.below(Math.max(1, lines.length - EDITED_LINES));
  const original = lines.slice(start, start + EDITED_LINES).join("\n");
  const names = original.match(/\b[a-z]\w{3,}\b/g) ?? [];
  const counts = Map.groupBy(names, (name) => name);
  const [name, uses] = [...counts].sort(([, a], [, b]) => b.length - a.length)[0] ?? ["", []];
  if (uses.length < 4) return undefined;
  const edited = original.replaceAll(
    new RegExp(`\\b${name}\\b`, "g"),
    `next${name[0].toUpperCase()}${name.slice(1)}`,
  );
  const begun = edited.split("\n").slice(0, EDITED_LINES / 3).map((line) => line + "\n").join("");
  return [request({ kind: "text", text: `${original}\n\n${begun}`, parseSpecial: false })];
}

/** The same place again after a line further up was changed, as while somebody works at two places. */
function askedAgain(lines: readonly string[], random: SeededRandom): Case | undefined {
  const line = 8 + random.below(lines.length);
  if (line >= lines.length) return undefined;
  const changed = lines.toSpliced(line - 6, 1, lines[line - 6] + " // checked");
  return [infillAt(lines, line), infillAt(changed, line)];
}
