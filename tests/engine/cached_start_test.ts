// After a jump in a file that is too long to be shown whole, a prompt begins where a cached one does.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { detectFim } from "../../engine/fim.ts";
import { buildInfillPrompt, type ComputedTokens } from "../../engine/infill_prompt.ts";
import { Tokenizer } from "../../engine/tokenizer.ts";
import { tinyTokenizerJson } from "./tiny_tokenizer.ts";

const tokenizer = new Tokenizer(tinyTokenizerJson());
const fim = detectFim(tokenizer);
/** A token a byte; a line ten. */
const LINES = Array.from({ length: 200 }, (_, i) => `line ${String(i).padStart(4, "0")}\n`);
const ROOM = { prompt: 400, suffix: 60, stretched: 600 };

/** An editor in the file, and all prompts that it has sent. */
function openFile() {
  const cached: (readonly number[])[] = [];
  const countCached = (ids: readonly number[]) => Math.max(0, ...cached.map((one) => commonLength(one, ids)));
  const computed: ComputedTokens = { countCached, weigh: (_layout, _ids, count) => count };
  const promptAt = (line: number, request: object = {}, by: ComputedTokens | undefined = computed) => {
    const [prefix, suffix] = [LINES.slice(0, line).join(""), LINES.slice(line).join("")];
    const prompt = { kind: "infill" as const, prefix, suffix, ...request };
    return buildInfillPrompt(tokenizer, fim, prompt, ROOM, by);
  };
  /** How many tokens the prompt needs, and where it begins in the file. */
  const ask = (line: number, request: object = {}) => {
    const { ids, layout } = promptAt(line, request);
    const uncomputed = ids.length - countCached(ids);
    cached.push(ids);
    return { ids, layout, uncomputed, firstLine: firstLineOf(ids) };
  };
  return { ask, promptAt, cached };
}

/** As the engine counts: never the last. */
function commonLength(a: readonly number[], b: readonly number[]): number {
  const differs = b.findIndex((id, index) => id !== a[index]);
  return Math.min(b.length - 1, differs < 0 ? b.length : differs);
}

/** Of the text before the cursor. */
function firstLineOf(ids: readonly number[]): number {
  const text = tokenizer.decode(
    ids.slice(ids[1] === fim.tokens!.suffix ? ids.indexOf(fim.tokens!.middle) : 1),
  );
  return Number(/line (\d+)/.exec(text)![1]);
}

Deno.test("buildInfillPrompt() begins where a cached prompt does after a jump within reach, ahead and back", () => {
  for (const line of [120, 125, 100]) {
    const { ask } = openFile();
    const { firstLine } = ask(110, { layout: "psm" });
    const jumped = ask(line);
    assert.deepEqual([jumped.layout, jumped.firstLine], ["psm", firstLine]);
    const between = Math.max(0, line - 110) * 10;
    assert.ok(jumped.uncomputed <= between + ROOM.suffix + 2, `${line}: ${jumped.uncomputed} tokens`);
  }
});

Deno.test("buildInfillPrompt() shows no more than it may and no less than half, wherever it was before", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 199 }), { minLength: 2, maxLength: 12 }), (jumps) => {
      const { ask, promptAt } = openFile();
      for (const line of jumps) {
        const usual = promptAt(line, {}, undefined).ids.length;
        const { ids, firstLine } = ask(line);
        assert.ok(ids.length <= ROOM.stretched, `${ids.length} tokens`);
        assert.ok(ids.length >= usual / 2, `${ids.length} of ${usual} tokens`);
        const shown = tokenizer.decode(ids), before = LINES.slice(firstLine, line).join("");
        assert.ok(shown.includes(before), "all from the first line to the cursor, without a gap");
      }
    }),
  );
});

Deno.test("buildInfillPrompt() takes no other start for a small gain, nor in a layout that was asked for", () => {
  const far = openFile();
  far.ask(60, { layout: "psm" });
  const usual = far.promptAt(160, {}, undefined);
  assert.deepEqual(far.ask(160).ids.length, usual.ids.length, "nothing of use is cached");
  const forced = openFile();
  forced.ask(110, { layout: "psm" });
  const named = forced.promptAt(125, { layout: "psm" });
  assert.deepEqual(named.ids, forced.promptAt(125, { layout: "psm" }, undefined).ids);
});
