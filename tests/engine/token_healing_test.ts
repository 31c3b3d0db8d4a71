// Token healing: how far a prompt is backed up, what its first tokens may be, and that no character is lost or given twice.
import assert from "node:assert/strict";
import { DEFAULT_MODEL_DIR } from "../../cli/default_model.ts";
import fc from "../fast_check.ts";
import { Detokenizer } from "../../engine/detokenizer.ts";
import { backupOf, HealingConstraint } from "../../engine/token_healing.ts";
import { byteString, TokenIndex } from "../../engine/token_index.ts";
import { Tokenizer } from "../../engine/tokenizer.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { hasToken } from "../../kernels/sampling/token_mask.ts";
import { complete, Gate, openFakeEngine, textPrompt, until, VOCAB_SIZE } from "./fake_model.ts";
import type { FakeRunnerOptions } from "./fake_runner.ts";
import { byteId, byteIds, tinyTokenizerJson } from "./tiny_tokenizer.ts";

const TINY = new Tokenizer(tinyTokenizerJson());
const DEFAULT = new Tokenizer(
  JSON.parse(Deno.readTextFileSync(`${DEFAULT_MODEL_DIR}/tokenizer.json`)),
);

function indexOf(tokenizer: Tokenizer): TokenIndex {
  return new TokenIndex(tokenizer, tokenizer.vocabSize, (id) => !tokenizer.isControl(id));
}

const TINY_INDEX = indexOf(TINY), DEFAULT_INDEX = indexOf(DEFAULT);

function idsIn(mask: Uint32Array, vocabSize: number): number[] {
  return Array.from({ length: vocabSize }, (_, id) => id).filter((id) => hasToken(mask, id));
}

Deno.test("TokenIndex.consistentWith() has the tokens that begin with the bytes or are their beginning, and no others", () => {
  const utf8 = new TextEncoder();
  const texts = ["x", " ", "    ", "\n  ", "ret", "self.", "é", "🙂", "return", "'", "zq"];
  for (const [tokenizer, index] of [[TINY, TINY_INDEX], [DEFAULT, DEFAULT_INDEX]] as const) {
    for (const text of texts) {
      const tail = byteString(utf8.encode(text));
      const expected = Array.from({ length: tokenizer.vocabSize }, (_, id) => id).filter((id) => {
        const bytes = byteString(tokenizer.bytes(id));
        return !tokenizer.isControl(id) && bytes !== "" && (bytes.startsWith(tail) || tail.startsWith(bytes));
      });
      assert.deepEqual(
        idsIn(index.consistentWith(tail), tokenizer.vocabSize),
        expected,
        JSON.stringify(text),
      );
      const longer = expected.some((id) => tokenizer.bytes(id).length > tail.length);
      assert.equal(index.hasLonger(tail), longer, JSON.stringify(text));
    }
  }
});

Deno.test("backupOf() takes back the longest end that begins a longer token, and stops at control tokens", () => {
  const backup = (text: string) => backupOf(TINY.encode(text, { parseSpecial: true }), TINY, TINY_INDEX);
  assert.deepEqual(backup("a = r"), { numTokens: 1, bytes: "r" });
  assert.deepEqual(backup("a = ret"), undefined, "no token goes on after ret");
  assert.deepEqual(backup("x d"), { numTokens: 1, bytes: "d" });
  assert.deepEqual(
    backup("f\n  "),
    { numTokens: 2, bytes: "\n  " },
    "a line break and four blanks are one token",
  );
  assert.deepEqual(backup("<fim_prefix>\n<fim_middle>d"), { numTokens: 1, bytes: "d" });
  assert.deepEqual(backup("d<fim_middle>"), undefined);
  assert.deepEqual(backup(""), undefined);
});

Deno.test("HealingConstraint lets every walk spell what was taken back, and then anything", () => {
  const text = fc.array(fc.constantFrom(" ", "\n", "    ", "ret", "d", "é", "🙂", "self", ".", "x"), {
    maxLength: 8,
  });
  fc.assert(
    fc.property(text, fc.nat(), (parts, seed) => {
      for (const [tokenizer, index] of [[TINY, TINY_INDEX], [DEFAULT, DEFAULT_INDEX]] as const) {
        const backup = backupOf(tokenizer.encode(parts.join("")), tokenizer, index);
        if (!backup) continue;
        const constraint = new HealingConstraint(backup.bytes, tokenizer, index);
        let drawn = "";
        for (let turn = 0; constraint.next !== "any"; turn++) {
          const { next } = constraint;
          assert.ok(!constraint.ended);
          const ids = idsIn(next, tokenizer.vocabSize);
          const id = ids[(Math.imul(seed + turn, 0x9e3779b1) >>> 0) % ids.length];
          drawn += byteString(tokenizer.bytes(id));
          constraint.accept(id);
        }
        assert.ok(drawn.startsWith(backup.bytes));
        assert.equal(constraint.next, "any");
      }
    }),
    { numRuns: 150 },
  );
});

Deno.test("Detokenizer leaves out what is the prompt's, down to the byte", () => {
  const [first, second] = byteIds("é");
  const half = new Detokenizer(TINY, 1);
  assert.ok(half.isTyped(first));
  assert.equal(half.push(first), "");
  assert.ok(!half.isTyped(second));
  const blanks = new Detokenizer(TINY, 2);
  const four = TINY.idOf("ĠĠĠĠ")!;
  assert.ok(!blanks.isTyped(four));
  assert.equal(blanks.push(four) + blanks.push(byteId(0x78)), "  x");
});

/** A runner that chooses the longest token allowed while it may not choose any, and then writes `text`. */
function longestThen(text: string): FakeRunnerOptions {
  const ids = byteIds(text);
  let from = 0;
  return {
    next: (_, { allowed, counter }) => {
      if (!allowed) return ids[counter - from] ?? 0;
      from = counter + 1;
      const choices = idsIn(allowed, VOCAB_SIZE);
      return choices.reduce((a, b) => TINY.bytes(b).length > TINY.bytes(a).length ? b : a);
    },
  };
}

/** As the one above, but the shortest. */
function shortestThen(text: string): FakeRunnerOptions {
  const longest = longestThen(text);
  return {
    next: (visible, sample) => {
      if (!sample.allowed) return longest.next!(visible, sample);
      longest.next!(visible, sample);
      const choices = idsIn(sample.allowed, VOCAB_SIZE);
      return choices.reduce((a, b) => TINY.bytes(b).length < TINY.bytes(a).length ? b : a);
    },
  };
}

const HEALED = { tokenHealing: true };

function wanted(text: string, options: Partial<GenerationRequest> = {}): GenerationRequest {
  return { prompt: textPrompt(text), maxTokens: 8, temperature: 0, ...options };
}

Deno.test("LocalEngine heals a prompt's end: the text goes on where it was typed, in the tokens that fit", async () => {
  await using fake = await openFakeEngine(longestThen("z"), HEALED);
  const { text, finish, prompt, ids } = await complete(fake.engine, wanted("a = r"));
  assert.equal(text, "etz");
  assert.deepEqual([prompt.healed, prompt.tokenIds], [1, byteIds("a = r")]);
  assert.deepEqual(ids, [TINY.idOf("ret"), byteId(0x7a)]);
  assert.deepEqual([finish.completionTokens, finish.reason], [2, "eos"]);
});

Deno.test("LocalEngine heals a text of which it keeps the last tokens, and one that follows token ids", async () => {
  await using fake = await openFakeEngine(longestThen("z"), HEALED);
  const long = `${"x = 1\n".repeat(100)}a = r`;
  const cases: [prompt: Partial<GenerationRequest["prompt"]>, ids: readonly number[]][] = [
    [{ text: long, keep: 7 }, TINY.encode(long).slice(-7)],
    [{ text: "a = r", before: [5, 6] }, [5, 6, ...byteIds("a = r")]],
    [{ text: "= r", before: [5, 6, 7], keep: 4 }, [7, ...byteIds("= r")]],
    [{ text: "= r", before: [5, 6, 7], keep: 2 }, byteIds(" r")],
  ];
  for (const [prompt, ids] of cases) {
    const whole = { kind: "text", parseSpecial: true, ...prompt } as GenerationRequest["prompt"];
    const read = await complete(fake.engine, { ...wanted(""), prompt: whole, promptText: true });
    assert.deepEqual([read.prompt.tokenIds, read.prompt.healed, read.text], [ids, 1, "etz"]);
    assert.equal(read.prompt.text, TINY.decode(ids), "the prompt as the model sees it");
    assert.equal(read.prompt.truncated, "keep" in prompt);
    const plain = await complete(fake.engine, { ...wanted(""), prompt: whole, tokenHealing: false });
    assert.deepEqual([plain.prompt.tokenIds, plain.prompt.healed], [ids, undefined]);
  }
});

Deno.test("LocalEngine ranks healed samples by all that was drawn, what only spells the prompt included", async () => {
  const ret = TINY.idOf("ret")!;
  const cases: [runner: FakeRunnerOptions, prompt: string, read: string, drawn: number[], shown: number][] = [
    [longestThen("z"), "a = r", "a = ", [ret, ...byteIds("z")], 2],
    [shortestThen("z"), "f\n  ", "f", byteIds("\n  z"), 1],
  ];
  for (const [runner, prompt, read, drawn, shown] of cases) {
    await using healing = await openFakeEngine(runner, HEALED);
    const healed = await complete(healing.engine, { ...wanted(prompt), rankSamples: true });
    assert.equal(healed.finish.completionTokens, shown);
    // The same tokens, drawn by whoever has the shorter prompt, with their scores shown.
    await using plain = await openFakeEngine({ next: (_, { counter }) => drawn[counter] ?? 0 });
    const tokens = { kind: "tokens", ids: byteIds(read) } as const;
    const events = await Array.fromAsync(plain.engine.submit({ ...wanted(""), prompt: tokens, logprobs: 0 }));
    const scores = events.flatMap((event) => event.kind === "token" ? event.logprob!.logprob! : []);
    assert.equal(scores.length, drawn.length);
    const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
    assert.ok(Math.abs(healed.finish.meanLogprob! - mean) < 1e-9, `${healed.finish.meanLogprob} for ${mean}`);
  }
});

Deno.test("LocalEngine shows no scores to whoever has samples ranked, and no rank to whoever does not", async () => {
  await using fake = await openFakeEngine();
  const request = { ...wanted("abc"), n: 2, temperature: 1, ignoreEos: true };
  const ranked = await Array.fromAsync(fake.engine.submit({ ...request, rankSamples: true }));
  assert.ok(ranked.every((event) => event.kind !== "token" || event.logprob === undefined));
  const means = ranked.flatMap((event) => event.kind === "finish" ? event.meanLogprob! : []);
  assert.ok(means.length === 2 && means.every((mean) => mean < 0), `${means}`);
  const plain = await Array.fromAsync(fake.engine.submit(request));
  assert.ok(plain.every((event) => event.kind !== "finish" || event.meanLogprob === undefined));
});

Deno.test("LocalEngine refuses what text is to follow where it is no token, and too much of a text", async () => {
  await using fake = await openFakeEngine();
  const refused: [prompt: Partial<GenerationRequest["prompt"]>, field: string][] = [
    [{ before: [VOCAB_SIZE] }, "before"],
    [{ before: [1.5] }, "before"],
    [{ keep: 0 }, "keep"],
    [{ text: "x".repeat(500), keep: 400 }, "prompt"],
    [{ before: Array(200).fill(5) }, "prompt"],
  ];
  for (const [prompt, field] of refused) {
    const whole = { kind: "text", text: "x", parseSpecial: true, ...prompt } as GenerationRequest["prompt"];
    await assert.rejects(complete(fake.engine, { ...wanted(""), prompt: whole }), { field });
  }
});

Deno.test("LocalEngine counts no token that only spells what was typed, and gives it to nobody", async () => {
  await using fake = await openFakeEngine(shortestThen("z"), HEALED);
  for (const maxTokens of [1, 2, 8]) {
    const { text, finish, ids, prompt } = await complete(fake.engine, wanted("f\n  ", { maxTokens }));
    assert.deepEqual([text, ids, finish.completionTokens, prompt.healed], ["z", [byteId(0x7a)], 1, 3]);
    assert.equal(finish.reason, maxTokens === 1 ? "length" : "eos");
  }
});

Deno.test("LocalEngine counts a healed request in its own statistics as its reply does, and shows it so", async () => {
  const gate = new Gate();
  await using fake = await openFakeEngine({ ...shortestThen("z"), beforeStep: () => gate.pass() }, HEALED);
  using _ = { [Symbol.dispose]: () => gate.open() };
  const completion = complete(fake.engine, wanted("f\n  "));
  completion.catch(() => {}); // Or a failed assertion would be hidden behind the engine's end.
  const whole = TINY.encode("f\n  ").length;
  // Before each step: three draws spell what was typed, the fourth is the completion's, the fifth its end.
  for (const [steps, generatedTokens] of [0, 0, 0, 0, 1].entries()) {
    await until(async () => (await fake.engine.stats()).steps === steps && gate.waiting === 1);
    const [sequence] = await fake.engine.sequences({ withPrompts: true });
    const { promptTokens, maxTokens, prompt } = sequence;
    assert.deepEqual([promptTokens, maxTokens, prompt], [whole, 8, "f\n  "]);
    assert.equal(sequence.generatedTokens, generatedTokens);
    gate.openOnce();
  }
  const { finish, prompt } = await completion;
  const stats = await fake.engine.stats();
  assert.deepEqual([stats.promptTokens, stats.generatedTokens], [prompt.tokenIds.length, 1]);
  assert.equal(stats.drawnTokens, 5);
  assert.equal(finish.completionTokens, stats.generatedTokens);
});

Deno.test("LocalEngine finds stop strings and echoes prompts as they were typed when it heals", async () => {
  await using fake = await openFakeEngine(longestThen("z;w"), HEALED);
  const stopped = await complete(fake.engine, wanted("a = r", { stop: ["tz"], echoPrompt: true }));
  assert.deepEqual([stopped.text, stopped.finish.reason, stopped.prompt.text], ["e", "stop", "a = r"]);
  const typed = await complete(fake.engine, wanted("a = r", { stop: ["ret"] }));
  assert.equal(typed.text, "etz;w", "a stop string that began in the prompt is none");
});

Deno.test("LocalEngine heals neither token ids nor beside log-probabilities nor where nothing is drawn or healing is off", async () => {
  await using fake = await openFakeEngine(longestThen("z"), HEALED);
  const cases: Partial<GenerationRequest>[] = [
    { prompt: { kind: "tokens", ids: byteIds("a = r") } },
    { logprobs: 1, tokenHealing: true },
    { maxTokens: 0 },
    { tokenHealing: false },
    { prompt: textPrompt("r") },
  ];
  for (const options of cases) {
    const { prompt } = await complete(fake.engine, wanted("a = r", options));
    assert.equal(prompt.healed, undefined, JSON.stringify(options));
  }
});

Deno.test("LocalEngine heals infills where it is asked to, in both layouts", async () => {
  for (const layout of ["psm", "spm"] as const) {
    await using fake = await openFakeEngine(longestThen("z"), {
      tokenHealing: undefined as unknown as boolean,
    });
    const prompt = { kind: "infill", prefix: "a = ", lineStart: "r", suffix: "\nb", layout } as const;
    const plain = await complete(fake.engine, wanted("", { prompt }));
    assert.deepEqual([plain.prompt.healed, plain.text], [undefined, "z"]);
    const healed = await complete(fake.engine, wanted("", { prompt, tokenHealing: true }));
    assert.deepEqual([healed.prompt.healed, healed.text], [1, "etz"]);
    assert.deepEqual(healed.prompt.tokenIds, plain.prompt.tokenIds);
  }
});

Deno.test("LocalEngine types a healed completion through", async () => {
  await using fake = await openFakeEngine(longestThen("zu"), HEALED);
  assert.equal((await complete(fake.engine, wanted("a = r"))).text, "etzu");
  const { text, finish, prompt } = await complete(fake.engine, wanted("a = ret"));
  assert.deepEqual([text, finish.cachedCompletion], ["zu", true]);
  assert.deepEqual(prompt.tokenIds, TINY.encode("a = ret"));
});

Deno.test("LocalEngine leaves nothing behind when several healed samples of different lengths end", async () => {
  await using fake = await openFakeEngine({}, HEALED);
  const runs = await Promise.all(
    ["a = r", "f\n  ", "x d", "if x:\n "].map((text, i) =>
      complete(fake.engine, wanted(text, { temperature: 1, seed: i, maxTokens: 5 }))
    ),
  );
  assert.ok(runs.every(({ finish }) => finish.completionTokens <= 5));
  const { freeBlocks, totalBlocks, running } = await fake.engine.stats();
  assert.deepEqual([freeBlocks, running], [totalBlocks, 0]);
});
