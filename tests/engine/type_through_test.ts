import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { type GivenCompletion, TypeThrough } from "../../engine/type_through.ts";
import { collect, complete, completionOf, openFakeEngine, textPrompt } from "./fake_model.ts";
import { byteIds } from "./tiny_tokenizer.ts";

/** A completion of these pieces, the last of which was held back to the end. */
function given(pieces: readonly string[]): GivenCompletion {
  return {
    tokens: pieces.slice(0, -1).map((text, id) => ({ kind: "token", sample: 0, id, text })),
    finish: {
      kind: "finish",
      sample: 0,
      reason: "eos",
      text: pieces.at(-1) ?? "",
      completionTokens: pieces.length,
      cachedTokens: 0,
      timings: { queueMs: 1, promptMs: 2, predictedMs: 3 },
    },
  };
}

function at(before: string, options: Partial<GenerationRequest> = {}): GenerationRequest {
  return {
    prompt: { kind: "infill", prefix: before, suffix: ")" },
    temperature: 0,
    maxTokens: 9,
    ...options,
  };
}

function textOf(found: GivenCompletion | undefined): string | undefined {
  return found && found.tokens.map(({ text }) => text).join("") + found.finish.text;
}

/** What is found for `asked` once `recorded` got these pieces. */
function left(recorded: GenerationRequest, pieces: readonly string[], asked: GenerationRequest) {
  const cache = new TypeThrough();
  cache.recorder(recorded)?.(given(pieces));
  return textOf(cache.find(asked));
}

Deno.test("TypeThrough.find() gives what is left of a completion that is typed as it was given", () => {
  assert.equal(left(at("f("), ["ab", "", "cd", "e"], at("f(a")), "bcde");
  assert.equal(left(at("f("), ["ab", "", "cd", "e"], at("f(abcd")), "e");
  assert.equal(left(at("f("), ["ab", "cd"], at("f(ax")), undefined, "the typed text departs");
  assert.equal(left(at("f("), ["ab", "cd"], at("f(")), undefined, "nothing was typed");
  assert.equal(left(at("f("), ["ab", "cd"], at("f(abcd")), undefined, "nothing is left");
  assert.equal(left(at("f("), ["ab", "cd"], at("g(a")), undefined, "another place");
});

Deno.test("TypeThrough.find() joins the cursor's line and what stands above it, as editors move it from one to the other", () => {
  const line = (prefix: string, lineStart: string): GenerationRequest => ({
    ...at(""),
    prompt: { kind: "infill", prefix, lineStart, suffix: ")" },
  });
  assert.equal(left(line("a\n", "b"), ["c\nd", ""], line("a\n", "bc")), "\nd");
  assert.equal(left(line("a\n", "b"), ["c\nd", ""], line("a\nbc\n", "")), "d");
});

Deno.test("TypeThrough.find() wants all else of the request to be the same, but its deadlines, its id and its rank", () => {
  const pieces = ["ab", ""];
  const others: Partial<GenerationRequest>[] = [
    { maxTokens: 8 },
    { cacheSalt: "key" },
    { requester: { key: "another" } },
    { seed: 1 },
    { stop: ["x"] },
    { outputRules: { scope: "line" } },
    { cachePrompt: false },
    { logprobs: 1 },
    { n: 2 },
    { prompt: { kind: "infill", prefix: "f(a", suffix: "]" } },
    { prompt: { kind: "text", text: "f(a", parseSpecial: true } },
    { prompt: { kind: "tokens", ids: [1] } },
  ];
  for (const other of others) {
    assert.equal(left(at("f("), pieces, at("f(a", other)), undefined, JSON.stringify(other));
  }
  const alike = {
    requestId: "r",
    deadlines: { predictMs: 5 },
    priority: "batch",
    requester: { session: "s" },
  } as const;
  assert.equal(left(at("f("), pieces, at("f(a", alike)), "b");
  const text = (text: string): GenerationRequest => ({ ...at(""), prompt: textPrompt(text) });
  assert.equal(left(text("f("), pieces, text("f(a")), "b");
});

Deno.test("TypeThrough.find() finds the cursor in prompts whose infill tokens a client has written", () => {
  const psm = (before: string, after = "d"): GenerationRequest => ({
    ...at(""),
    prompt: {
      kind: "text",
      text: `<filename>f<fim_prefix>${before}<fim_suffix>${after}<fim_middle>`,
      parseSpecial: true,
    },
  });
  const spm = (before: string): GenerationRequest => ({
    ...at(""),
    prompt: {
      kind: "text",
      text: `<filename>f<fim_prefix><fim_suffix>d<fim_middle>${before}`,
      parseSpecial: true,
    },
  });
  assert.equal(left(psm("a"), ["bc", ""], psm("ab")), "c");
  assert.equal(left(spm("a"), ["bc", ""], spm("ab")), "c");
  assert.equal(left(psm("a"), ["bc", ""], psm("ab", "e")), undefined);
  assert.equal(left(psm("a"), ["bc", ""], spm("ab")), undefined, "another layout");
});

Deno.test("TypeThrough gives what was drawn by a seed to whoever has the same seed", () => {
  const warm = { temperature: 0.5 };
  assert.equal(left(at("f(", { ...warm, seed: 1 }), ["ab"], at("f(a", { ...warm, seed: 1 })), "b");
  assert.equal(left(at("f(", { ...warm, seed: 1 }), ["ab"], at("f(a", { ...warm, seed: 2 })), undefined);
});

Deno.test("TypeThrough gives what was drawn at random once for each text, to the editor that it was drawn for", () => {
  const warm = (before: string, session = "me") =>
    at(before, { temperature: 0.5, requester: { key: "k", session } });
  const cache = new TypeThrough();
  cache.recorder(warm("f("))!(given(["abcd"]));
  assert.equal(cache.find(warm("f(a", "you")), undefined, "another editor");
  assert.equal(textOf(cache.find(warm("f(a"))), "bcd");
  assert.equal(cache.find(warm("f(a")), undefined, "the same text again");
  assert.equal(textOf(cache.find(warm("f(abc"))), "d");
  assert.equal(cache.find(warm("f(ab")), undefined, "the text before that");
  const sampled = (text: string) => at("", { temperature: 1, prompt: textPrompt(text) });
  assert.equal(cache.recorder(sampled("f(")), undefined, "not infilling");
});

Deno.test("TypeThrough prefers the completion that was used last", () => {
  const cache = new TypeThrough();
  cache.recorder(at("f"))!(given(["(ab", ""]));
  cache.recorder(at("f("))!(given(["ac", ""]));
  assert.equal(textOf(cache.find(at("f(a"))), "c");
  assert.equal(textOf(cache.find(at("f(ab"))), undefined);
  cache.recorder(at("f("))!(given(["ad", ""]));
  assert.equal(cache.size, 2, "the same request's newer completion takes the place of the older");
  assert.equal(textOf(cache.find(at("f(a"))), "d");
});

Deno.test("TypeThrough stays within its bounds, and drops what was used least recently", () => {
  const cache = new TypeThrough({ maxEntries: 3 });
  for (const name of ["a", "b", "c"]) cache.recorder(at(name))!(given(["xy", ""]));
  assert.equal(textOf(cache.find(at("ax"))), "y");
  cache.recorder(at("d"))!(given(["xy", ""]));
  assert.equal(cache.find(at("bx")), undefined);
  assert.equal(textOf(cache.find(at("ax"))), "y");
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(9), fc.string({ maxLength: 300 })), { maxLength: 60 }),
      fc.integer({ min: 1, max: 3000 }),
      (completions, maxUnits) => {
        const cache = new TypeThrough({ maxEntries: 5, maxUnits });
        for (const [place, text] of completions) {
          cache.recorder(at(`${place}`))!(given([text]));
          assert.ok(cache.size <= 5 && cache.units <= maxUnits && (cache.size > 0 || cache.units === 0));
        }
      },
    ),
  );
});

Deno.test("TypeThrough.find() gives what was given without what was typed, however it came in tokens", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 3 }), { maxLength: 8 }), fc.nat(20), (pieces, length) => {
      const text = pieces.join(""), typed = text.slice(0, length);
      const expected = typed !== "" && typed !== text ? text.slice(length) : undefined;
      assert.equal(left(at("f("), pieces, at("f(" + typed)), expected);
    }),
  );
});

/** A runner that goes on with this text after the prompt's `length` bytes, wherever in it the prompt ends. */
function continues(length: number, text: string) {
  const ids = byteIds(text);
  return { next: (visible: readonly number[]) => ids[visible.length - length] ?? 0 };
}

Deno.test("LocalEngine answers somebody who types a completion without the model, until the text departs", async () => {
  const steps = (fake: { runners: { steps: number }[] }) => fake.runners[0].steps;
  await using fake = await openFakeEngine(continues(4, "abé🙂z"));
  const wanted = (text: string, options: Partial<GenerationRequest> = {}): GenerationRequest => ({
    prompt: { kind: "text", text, parseSpecial: false },
    temperature: 0,
    maxTokens: 20,
    ...options,
  });
  assert.equal((await complete(fake.engine, wanted("f = "))).text, "abé🙂z");
  const before = steps(fake);
  for (
    const [typed, rest] of [["a", "bé🙂z"], ["ab", "é🙂z"], ["abé", "🙂z"], ["abé🙂", "z"], ["ab", "é🙂z"]]
  ) {
    const events = await collect(fake.engine.submit(wanted("f = " + typed)));
    const { text, finish, ids } = completionOf(events);
    assert.equal(text, rest);
    assert.deepEqual([finish.reason, finish.cachedCompletion, finish.completionTokens], [
      "eos",
      true,
      ids.length,
    ]);
    assert.ok(events[0].kind === "prompt" && events[0].tokenIds.length === finish.cachedTokens);
    assert.deepEqual(finish.timings, { queueMs: 0, promptMs: 0, predictedMs: 0 });
  }
  assert.equal(steps(fake), before);
  const { typeThroughHits, promptTokens, freeBlocks, totalBlocks } = await fake.engine.stats();
  assert.deepEqual([typeThroughHits, promptTokens, freeBlocks], [5, 4, totalBlocks]);
  for (const other of [wanted("f = x"), wanted("f = a", { cachePrompt: false }), wanted("f = abé🙂z")]) {
    assert.equal((await complete(fake.engine, other)).finish.cachedCompletion, undefined);
  }
  assert.ok(steps(fake) > before);
});

Deno.test("LocalEngine asks the model each time where type-through or the cache is off, and forgets what was cancelled", async () => {
  const wanted = (text: string): GenerationRequest => ({
    prompt: textPrompt(text),
    temperature: 0,
    maxTokens: 9,
  });
  for (const off of [{ typeThrough: false }, { cachePrompts: false }]) {
    await using fake = await openFakeEngine(continues(4, "abc"), off);
    await complete(fake.engine, wanted("f = "));
    const { text, finish } = await complete(fake.engine, wanted("f = a"));
    assert.deepEqual([text, finish.cachedCompletion], ["bc", undefined]);
  }
  await using fake = await openFakeEngine(continues(4, "abc"));
  for await (const event of fake.engine.submit(wanted("f = "))) if (event.kind === "token") break;
  assert.equal((await complete(fake.engine, wanted("f = a"))).finish.cachedCompletion, undefined);
});

Deno.test("LocalEngine does not take for whole what a newer request of the session, or time, cut short", async () => {
  const wanted = (text: string): GenerationRequest => ({
    prompt: textPrompt(text),
    temperature: 0,
    maxTokens: 9,
    requester: { session: "editor" },
  });
  await using fake = await openFakeEngine(continues(4, "abcdefgh"));
  const older = fake.engine.submit(wanted("f = "))[Symbol.asyncIterator]();
  for (let tokens = 0; tokens < 2;) if ((await older.next()).value?.kind === "token") tokens++;
  const newer = fake.engine.submit(wanted("f = a"));
  const ended = await collect({ [Symbol.asyncIterator]: () => older });
  assert.deepEqual(ended.map((event) => event.kind === "finish" && event.reason).at(-1), "superseded");
  assert.equal(completionOf(await collect(newer)).text, "bcdefgh");
  // Of what the older request had given, a `b` is left here.
  assert.equal((await complete(fake.engine, wanted("f = a"))).text, "bcdefgh");
});

Deno.test("LocalEngine gives the cleaned text's rest to whoever types it, line breaks as they were", async () => {
  await using fake = await openFakeEngine({
    limits: { maxTokens: 128 },
    next: (_, { counter }) => byteIds("a)\nbc\nd)\n")[counter] ?? 0,
  });
  const wanted = (typed: string): GenerationRequest => ({
    prompt: { kind: "infill", prefix: "x\r\nf(" + typed, suffix: ")\r\n" },
    temperature: 0,
    maxTokens: 20,
    outputRules: { trimSuffix: true, keepCrlf: true },
  });
  assert.equal((await complete(fake.engine, wanted(""))).text, "a)\r\nbc\r\nd");
  const { text, finish } = await complete(fake.engine, wanted("a)\r\nb"));
  assert.deepEqual([text, finish.cachedCompletion, finish.rules], ["c\r\nd", true, [
    "trim_suffix",
    "keep_crlf",
  ]]);
});
