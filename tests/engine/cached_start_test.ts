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

Deno.test("buildInfillPrompt() takes no start for what it leaves out, where no more than a few lines are cached", () => {
  const { promptAt, cached } = openFile();
  const usual = firstLineOf(promptAt(150, { layout: "psm" }, undefined).ids);
  const lines = LINES.slice(usual + 12, usual + 15).join("") + "x\n".repeat(200);
  cached.push([fim.tokens!.prefix, ...tokenizer.encode(lines)]);
  assert.equal(firstLineOf(promptAt(150).ids), usual);
});

Deno.test("buildInfillPrompt() shows all of the cursor's line, of however many lines it is made, wherever a cached one begins", () => {
  const { promptAt, cached } = openFile();
  const lineStart = LINES.slice(0, 20).join("");
  cached.push([fim.tokens!.prefix, ...tokenizer.encode(LINES.slice(8, 40).join(""))]);
  assert.equal(firstLineOf(promptAt(0, { lineStart }).ids), 0);
});

Deno.test("buildInfillPrompt() begins no later than what is backed up", () => {
  const prefix = "a\n".repeat(20), suffix = "s".repeat(80), { tokens } = fim;
  const cached = [
    [tokens!.prefix, tokens!.suffix, ...tokenizer.encode(suffix), tokens!.middle],
    [tokens!.prefix, ...tokenizer.encode(prefix.slice(20))],
  ];
  const countCached = (ids: readonly number[]) => Math.max(...cached.map((one) => commonLength(one, ids)));
  const computed: ComputedTokens = { countCached, weigh: (_layout, _ids, count) => count };
  const backup = (ids: readonly number[]) => ({ numTokens: 30, bytes: tokenizer.decode(ids.slice(-30)) });
  const { ids, healing } = buildInfillPrompt(
    tokenizer,
    { ...fim, layouts: ["psm", "spm"] },
    { kind: "infill", prefix, suffix },
    { prompt: 400 },
    computed,
    backup,
  );
  assert.equal(healing!.wholeIds.length - ids.length, 30);
});

Deno.test("buildInfillPrompt() looks at few whole prompts, also where every line is like the others", () => {
  let numTokens = 0;
  const beginning = [fim.tokens!.prefix, ...tokenizer.encode("0,\n".repeat(100))];
  const countCached = (ids: readonly number[]) => {
    numTokens += ids.length;
    return commonLength(beginning, ids);
  };
  const prompt = {
    kind: "infill" as const,
    prefix: "0,\n".repeat(3000) + "x".repeat(500),
    suffix: "y".repeat(3000),
  };
  const room = { prompt: 8000 };
  buildInfillPrompt(tokenizer, fim, prompt, room, { countCached, weigh: (_layout, _ids, count) => count });
  assert.ok(numTokens < 40 * room.prompt, `${numTokens} tokens`);
});

Deno.test("buildInfillPrompt() is whole with other files, healing and a line of control tokens, whatever is cached", () => {
  const specials = ["<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<file_sep>"];
  const tokenizers = [undefined, specials, specials.slice(0, 4)]
    .map((names) => new Tokenizer(tinyTokenizerJson(names)));
  const text = fc.array(fc.constantFrom("}\n", "\n", "x = 1\n", "    def f\n", "é🙂\n"), { maxLength: 30 })
    .map((lines) => lines.join(""));
  const request = fc.record({
    line: fc.integer({ min: 20, max: 90 }),
    lineStart: fc.constantFrom("", "    re", "a<fim_suffix>\nb", "<fim_prefix>", "y".repeat(90)),
    named: fc.constantFrom({}, {}, { filename: "a.ts" }),
    extra: fc.oneof(fc.constant([]), fc.array(fc.record({ text }), { maxLength: 2 })),
  });
  const room = fc.tuple(fc.integer({ min: 60, max: 600 }), fc.integer({ min: 1, max: 80 }), fc.nat(300))
    .map(([prompt, suffix, stretch]) => ({ prompt, suffix, stretched: prompt + stretch }));
  const example = fc.record({
    ...{ requests: fc.array(request, { minLength: 2, maxLength: 12 }), room },
    ...{ tokenizer: fc.constantFrom(...tokenizers), numHealed: fc.nat(12) },
  });
  fc.assert(
    fc.property(example, ({ requests, room, tokenizer, numHealed }) => {
      const cached: (readonly number[])[] = [];
      const support = { ...detectFim(tokenizer), layouts: ["spm", "psm"] as const };
      const computed: ComputedTokens = {
        countCached: (ids) => Math.max(0, ...cached.map((one) => commonLength(one, ids))),
        weigh: (_layout, _ids, count) => count,
      };
      const backup = (ids: readonly number[]) => {
        const taken = numHealed ? ids.slice(-numHealed) : [];
        const bytes = String.fromCharCode(...taken.flatMap((id) => [...tokenizer.bytes(id)]));
        return taken.length ? { numTokens: taken.length, bytes } : undefined;
      };
      for (const one of requests) {
        const { line: at, named, lineStart, extra } = one;
        const [prefix, suffix] = [LINES.slice(0, at).join(""), LINES.slice(at).join("")];
        const request = { kind: "infill" as const, prefix, suffix, lineStart, extra, ...named };
        const built = buildInfillPrompt(tokenizer, support, request, room, computed, backup);
        const whole = wholeOf(built);
        const { layout } = built;
        const usual = buildInfillPrompt(tokenizer, support, { ...request, layout }, room, computed, backup);
        const alone = buildInfillPrompt(tokenizer, support, { ...request, layout }, room, undefined, backup);
        assert.deepEqual(usual, alone, "a layout that is asked for takes nothing from the cache");
        assert.ok(whole.length <= room.stretched, `${whole.length} of ${room.stretched} tokens`);
        assert.equal(built.healing?.bytes, usual.healing?.bytes);
        assert.equal(whole.length - built.ids.length, built.healing ? backupLength(usual) : 0);
        const [longer, shorter] = [whole, wholeOf(usual)].sort((a, b) => b.length - a.length);
        const begin = commonBeginning(longer, shorter), numMore = longer.length - shorter.length;
        assert.deepEqual(
          longer.toSpliced(begin, numMore),
          shorter,
          "nothing differs but where the text begins",
        );
        const line = tokenizer.encode(lineStart, { parseSpecial: true });
        const shows = (ids: readonly number[]) => ids.join().includes(line.join());
        if (shows(wholeOf(usual))) assert.ok(shows(whole), "all of the cursor's line");
        cached.push(whole, built.ids, alone.ids);
      }
    }),
    { numRuns: 300 },
  );
});

function wholeOf({ ids, healing }: ReturnType<typeof buildInfillPrompt>): readonly number[] {
  return healing?.wholeIds ?? ids;
}

function commonBeginning(longer: readonly number[], shorter: readonly number[]): number {
  const differs = shorter.findIndex((id, index) => id !== longer[index]);
  return differs < 0 ? shorter.length : differs;
}

function backupLength({ ids, healing }: ReturnType<typeof buildInfillPrompt>): number {
  return healing!.wholeIds.length - ids.length;
}
