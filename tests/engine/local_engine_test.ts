// What a request of an engine gets: tokens, text, and where they end.
import assert from "node:assert/strict";
import { InvalidRequestError } from "../../engine/errors.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import {
  collect,
  complete,
  completionOf,
  openFakeEngine,
  rejection,
  request,
  textPrompt,
  VOCAB_SIZE,
} from "./fake_model.ts";
import { byteId, byteIds } from "./tiny_tokenizer.ts";

/** A runner that writes `ids`, then end of text for ever. */
function writes(ids: readonly number[]) {
  return { next: (_: readonly number[], { counter }: { counter: number }) => ids[counter] ?? 0 };
}

Deno.test("LocalEngine.submit() delivers prompt, tokens and finish in order", async () => {
  await using fake = await openFakeEngine(writes(byteIds("ab")));
  const events = await collect(fake.engine.submit({ prompt: textPrompt("x = "), maxTokens: 5 }));
  assert.deepEqual(events.map(({ kind }) => kind), ["prompt", "token", "token", "finish"]);
  assert.deepEqual(events[0], {
    kind: "prompt",
    tokenIds: fake.engine.model && byteIds("x = "),
    truncated: false,
  });
  const { text, finish } = completionOf(events);
  assert.equal(text, "ab");
  assert.deepEqual([finish.reason, finish.completionTokens], ["eos", 2]);
});

Deno.test("LocalEngine.submit() ends at separators and infill tokens, and goes on past them when told to", async () => {
  await using fake = await openFakeEngine(writes([...byteIds("a"), 5, ...byteIds("b")]));
  const prompt = textPrompt("x");
  assert.equal((await complete(fake.engine, { prompt, maxTokens: 9 })).text, "a");
  const past = await complete(fake.engine, { prompt, maxTokens: 4, ignoreEos: true });
  assert.deepEqual([past.text, past.finish.reason, past.ids.length], ["ab", "length", 4]);
});

Deno.test("LocalEngine.submit() stops before a stop string split over tokens", async () => {
  await using fake = await openFakeEngine(writes(byteIds("abc\n\nrest")));
  const { text, finish, ids } = await complete(fake.engine, {
    prompt: textPrompt("x"),
    maxTokens: 20,
    stop: ["c\n\n"],
  });
  assert.deepEqual([text, finish.reason, finish.stopString, ids.length], ["ab", "stop", "c\n\n", 5]);
});

Deno.test("LocalEngine.submit() delivers held-back text when it turns out to be no stop string", async () => {
  await using fake = await openFakeEngine(writes(byteIds("abE")));
  const { text, pieces, finish } = await complete(fake.engine, {
    prompt: textPrompt("x"),
    maxTokens: 9,
    stop: ["END"],
  });
  assert.deepEqual([text, pieces, finish.text], ["abE", ["a", "b", ""], "E"]);
});

Deno.test("LocalEngine.submit() never delivers half a character, also when the limit cuts one", async () => {
  await using fake = await openFakeEngine(writes(byteIds("é🙂ü")));
  const { pieces } = await complete(fake.engine, { prompt: textPrompt("x"), maxTokens: 7 });
  assert.deepEqual(pieces, ["", "é", "", "", "", "🙂", ""]);
});

Deno.test("LocalEngine.submit() gives every request the tokens it gets alone, batched, chunked and preempted", async () => {
  await using alone = await openFakeEngine({
    limits: { maxTokens: 128, maxSequences: 1, maxSamples: 1, numBlocks: 8 },
  });
  await using crowded = await openFakeEngine({
    limits: { maxTokens: 9, maxSequences: 4, maxSamples: 4, numBlocks: 9 },
  });
  const requests = Array.from({ length: 16 }, (_, i): GenerationRequest => {
    const prompt = textPrompt(`def f${i}(x): ` + "y + ".repeat(i));
    return request(prompt, { maxTokens: 8 + 3 * i, temperature: i % 2, seed: i, topK: 40 });
  });
  const together = await Promise.all(requests.map((one) => complete(crowded.engine, one)));
  for (const [i, one] of requests.entries()) {
    assert.deepEqual(together[i].ids, (await complete(alone.engine, one)).ids, `request ${i}`);
  }
  const { preemptions, freeBlocks, totalBlocks } = await crowded.engine.stats();
  assert.ok(preemptions > 0, "the pool was not small enough to test preemption");
  assert.equal(freeBlocks, totalBlocks);
});

Deno.test("LocalEngine.submit() draws sample k with seed + k, and unlike seeds when none is given", async () => {
  await using fake = await openFakeEngine();
  const prompt = textPrompt("hello, this prompt is longer than two blocks of tokens");
  const three = await collect(fake.engine.submit(request(prompt, { n: 3, seed: 7, temperature: 1 })));
  for (let k = 0; k < 3; k++) {
    const lone = await complete(fake.engine, request(prompt, { seed: 7 + k, temperature: 1 }));
    assert.deepEqual(completionOf(three, k).ids, lone.ids);
  }
  assert.equal(three.filter(({ kind }) => kind === "prompt").length, 1);
  const [a, b] = await Promise.all(
    [1, 2].map(() => complete(fake.engine, request(prompt, { temperature: 1 }))),
  );
  assert.notDeepEqual(a.ids, b.ids);
});

Deno.test("LocalEngine.submit() scores the prompt's tokens when echo and logprobs are asked for", async () => {
  await using fake = await openFakeEngine({ limits: { maxTokens: 7, maxSamples: 4, maxSequences: 4 } });
  const prompt = textPrompt("a prompt of some tokens: é");
  const options = { echoPrompt: true, logprobs: 2, maxTokens: 1 };
  const [events] = await Promise.all([1, 2].map(() => collect(fake.engine.submit(request(prompt, options)))));
  const [first] = events;
  assert.ok(first.kind === "prompt" && first.tokens);
  assert.equal(first.text, "a prompt of some tokens: é");
  assert.deepEqual(first.tokens.map(({ id }) => id), first.tokenIds);
  assert.equal(first.tokens[0].logprob, null);
  for (const token of first.tokens.slice(1)) {
    assert.ok(token.logprob! <= 0 && token.top.length === 2);
    assert.equal(token.top[0].logprob, token.logprob);
  }
  assert.deepEqual(first.tokens.slice(-2).map(({ text }) => text), ["\ufffd", "\ufffd"]);
  const again = (await collect(fake.engine.submit(request(prompt, options))))[0];
  assert.deepEqual(again, first, "scores must not depend on the batch");
  const [, token] = events;
  assert.ok(token.kind === "token" && token.logprob && token.logprob.top.length === 2);
});

Deno.test("LocalEngine.submit() with maxTokens 0 computes the prompt only, and may fill the context", async () => {
  await using fake = await openFakeEngine();
  const prompt = { kind: "tokens" as const, ids: byteIds("p".repeat(128)) };
  const events = await collect(fake.engine.submit(request(prompt, { maxTokens: 0, n: 2 })));
  assert.deepEqual(events.map((event) => event.kind), ["prompt", "finish", "finish"]);
  assert.equal(completionOf(events, 1).finish.reason, "length");
  assert.equal(fake.runners[0].rows, 128);
});

Deno.test("LocalEngine.submit() ends with length where the context ends", async () => {
  await using fake = await openFakeEngine();
  const prompt = { kind: "tokens" as const, ids: byteIds("p".repeat(120)) };
  for (const maxTokens of [100, undefined]) {
    const { finish } = await complete(fake.engine, {
      prompt,
      temperature: 0,
      ignoreEos: true,
      ...(maxTokens && { maxTokens }),
    });
    assert.deepEqual([finish.reason, finish.completionTokens], ["length", 8]);
  }
});

Deno.test("LocalEngine.submit() fills in the middle and reports layout and truncation", async () => {
  await using fake = await openFakeEngine(writes(byteIds("m")));
  const prompt = { kind: "infill" as const, prefix: "p".repeat(300), suffix: "s", layout: "spm" as const };
  const [first] = await collect(fake.engine.submit({ prompt, maxTokens: 28 }));
  assert.ok(first.kind === "prompt");
  assert.deepEqual([first.layout, first.truncated, first.tokenIds.length], ["spm", true, 100]);
  assert.deepEqual(first.tokenIds.slice(0, 4), [1, 3, byteId(115), 2]);
});

Deno.test("LocalEngine.submit() applies biases and penalties", async () => {
  const seen: (readonly { id: number; delta: number }[])[] = [];
  const next = (_: readonly number[], sample: { adjustments?: readonly { id: number; delta: number }[] }) => {
    seen.push(sample.adjustments ?? []);
    return byteId(97);
  };
  await using fake = await openFakeEngine({ next });
  const bias = [{ id: byteId(97), delta: 1 }, { id: 3, delta: -Infinity }];
  const options = { maxTokens: 3, logitBias: bias, presencePenalty: 0.5, frequencyPenalty: 0.25 };
  await complete(fake.engine, request(textPrompt("aaa"), options));
  const deltaOfA = seen.map((all) => all.find(({ id }) => id === byteId(97))?.delta);
  assert.deepEqual(deltaOfA, [1, 1 - 0.75, 1 - 1]);
  const banned = seen[0].find(({ id }) => id === 3)!.delta;
  assert.ok(banned <= -1e6 && Number.isFinite(banned));
});

Deno.test("LocalEngine.tokenize() and detokenize() are each other's inverse", async () => {
  await using fake = await openFakeEngine();
  const ids = await fake.engine.tokenize("def é <fim_suffix>", { parseSpecial: true });
  assert.equal(ids.at(-1), 3);
  assert.equal(await fake.engine.detokenize(ids), "def é <fim_suffix>");
  assert.ok(await rejection(fake.engine.detokenize([VOCAB_SIZE])) instanceof InvalidRequestError);
});
