// A hole to fill at a random place of a random file.
import type { SourceFile } from "./code_corpus.ts";
import type { Job } from "./dialect.ts";
import { EditorBuffer, type Window } from "./editor_buffer.ts";
import type { SeededRandom } from "./seeded_random.ts";

/** The cursor stands somewhere in a line that has code; what follows it there is kept, as in an editor. */
export function randomJob(
  corpus: readonly SourceFile[],
  random: SeededRandom,
  window: Window,
  maxTokens: number,
): Job {
  const { lines } = random.pick(corpus);
  const line = random.below(lines.length);
  const characters = [...lines[line]];
  const column = characters.slice(0, random.below(characters.length + 1)).join("").length;
  const start = lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0);
  return new EditorBuffer(lines.join("\n"), start + column).job(window, maxTokens);
}
