import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { EngineUnavailableError, InvalidRequestError } from "../../engine/errors.ts";
import { LocalEngine } from "../../engine/local_engine.ts";
import { PRIORITIES, type Priority } from "../../engine/priority.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import {
  collect,
  complete,
  completionOf,
  fakeModel,
  Gate,
  openFakeEngine,
  request,
  textPrompt,
  until,
  VOCAB_SIZE,
} from "./fake_model.ts";
import { FAKE_LIMITS, FakeRunner } from "./fake_runner.ts";
import { byteId, byteIds, tinyTokenizerJson } from "./tiny_tokenizer.ts";

/** A runner that writes `ids`, then end of text for ever. */
function writes(ids: readonly number[]) {
  return { next: (_: readonly number[], { counter }: { counter: number }) => ids[counter] ?? 0 };
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(() => undefined, (error) => error);
  assert.ok(outcome instanceof Error, "it must fail");
  return outcome;
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

Deno.test("LocalEngine frees a cancelled request's blocks within one step: queued, in prefill, in decode", async () => {
  const gate = new Gate();
  await using fake = await openFakeEngine({ limits: { maxSequences: 1 }, beforeStep: () => gate.pass() });
  const { engine } = fake;
  const long = { kind: "tokens" as const, ids: byteIds("p".repeat(60)) };
  const running = engine.submit(request(long, { maxTokens: 60 }))[Symbol.asyncIterator]();
  const queued = engine.submit(request(long))[Symbol.asyncIterator]();
  await until(() => gate.waiting === 1);
  await queued.return!();
  assert.deepEqual([(await engine.stats()).waiting, (await engine.stats()).cancelled], [0, 1]);
  await running.next();
  await running.return!(); // Its first chunk is under way.
  assert.equal((await engine.stats()).freeBlocks, FAKE_LIMITS.numBlocks);
  gate.open();
  const controller = new AbortController();
  const decoding = engine.submit(request(long, { maxTokens: 60 }), controller.signal)[Symbol.asyncIterator]();
  for (let i = 0; i < 5; i++) assert.ok(!(await decoding.next()).done);
  controller.abort(new Error("left"));
  assert.equal((await rejection(decoding.next())).message, "left");
  const { freeBlocks, running: still, cancelled } = await engine.stats();
  assert.deepEqual([freeBlocks, still, cancelled], [FAKE_LIMITS.numBlocks, 0, 3]);
});

Deno.test("LocalEngine.submit() with a signal that is aborted already throws its reason and starts nothing", async () => {
  await using fake = await openFakeEngine();
  const events = fake.engine.submit(request(textPrompt("x")), AbortSignal.abort(new Error("gone")));
  assert.equal((await rejection(collect(events))).message, "gone");
  assert.equal(fake.runners[0].steps, 0);
});

Deno.test("LocalEngine serves others while a reader does not read", async () => {
  await using fake = await openFakeEngine();
  const unread = fake.engine.submit(request(textPrompt("slow"), { maxTokens: 90 }));
  assert.equal(
    (await complete(fake.engine, request(textPrompt("quick"), { maxTokens: 100 }))).ids.length,
    100,
  );
  await until(async () => (await fake.engine.stats()).running === 0);
  assert.equal(completionOf(await collect(unread)).ids.length, 90, "nothing of it was lost");
});

Deno.test("LocalEngine.submit() refuses with queue_full when too many wait", async () => {
  const gate = new Gate();
  await using fake = await openFakeEngine({ beforeStep: () => gate.pass() }, { maxWaiting: 3 });
  const accepted = [1, 2, 3].map(() => fake.engine.submit(request(textPrompt("x"))));
  const error = await rejection(collect(fake.engine.submit(request(textPrompt("x")))));
  assert.ok(error instanceof EngineUnavailableError);
  assert.equal(error.reason, "queue_full");
  gate.open();
  await Promise.all(accepted.map(collect));
  assert.equal((await complete(fake.engine, request(textPrompt("x")))).ids.length, 8);
});

Deno.test("LocalEngine.submit() names the field of a request that cannot be served", async () => {
  await using fake = await openFakeEngine({}, { maxWaiting: 4 });
  const prompt = textPrompt("x");
  const ids = (...ids: number[]) => ({ kind: "tokens" as const, ids });
  const cases: [string, Partial<GenerationRequest>][] = [
    ["maxTokens", { maxTokens: -1 }],
    ["maxTokens", { maxTokens: 1.5 }],
    ["n", { n: 0 }],
    ["n", { n: 5 }],
    ["temperature", { temperature: -0.1 }],
    ["temperature", { temperature: NaN }],
    ["topP", { topP: 1.1 }],
    ["minP", { minP: -1 }],
    ["topK", { topK: 0.5 }],
    ["logprobs", { logprobs: 21 }],
    ["seed", { seed: 0.5 }],
    ["presencePenalty", { presencePenalty: Infinity }],
    ["stop", { stop: [""] }],
    ["logitBias", { logitBias: [{ id: VOCAB_SIZE, delta: 1 }] }],
    ["logitBias", { logitBias: [{ id: 1, delta: NaN }] }],
    ["prompt", { prompt: ids() }],
    ["prompt", { prompt: ids(VOCAB_SIZE) }],
    ["prompt", { prompt: ids(-1) }],
    ["prompt", { prompt: textPrompt("") }],
    ["prompt", { prompt: ids(...byteIds("p".repeat(128))) }],
    ["prompt", { prompt: textPrompt("p".repeat(128)) }],
    ["prompt", { prompt: textPrompt("p".repeat(1_000_000)) }],
  ];
  for (const [field, wrong] of cases) {
    const error = await rejection(collect(fake.engine.submit({ prompt, ...wrong })));
    assert.ok(error instanceof InvalidRequestError, `${field}: ${error}`);
    assert.equal(error.field, field);
  }
  assert.equal(fake.runners[0].steps, 0);
});

Deno.test("LocalEngine.submit() refuses a token that the tokenizer has and the model lacks, and harms no other", async () => {
  const openModel = () => Promise.resolve({ ...fakeModel(new FakeRunner()), vocabSize: byteId(0x80) });
  await using fake = await openFakeEngine({}, { openModel });
  const other = complete(fake.engine, request(textPrompt("x")));
  const error = await rejection(collect(fake.engine.submit(request(textPrompt("é")))));
  assert.ok(error instanceof InvalidRequestError && error.field === "prompt");
  assert.match(error.message, new RegExp(`whose id ${byteId(0xc3)} the model lacks: it has ids 0 to`));
  assert.equal((await other).ids.length, 8);
});

Deno.test("LocalEngine.submit() tells how long a prompt is that does not fit", async () => {
  await using fake = await openFakeEngine();
  const error = await rejection(collect(fake.engine.submit({ prompt: textPrompt("p".repeat(130)) })));
  assert.ok(error instanceof InvalidRequestError);
  assert.equal(error.reason, "context_length_exceeded");
  assert.deepEqual(error.tokens, { prompt: 130, context: 128 });
  assert.match(error.message, /at most 127 tokens, received 130$/);
});

Deno.test("LocalEngine.submit() refuses infill where tokens are missing, and says which", async () => {
  const tokenizer = {
    tokenizerJson: tinyTokenizerJson(["<|endoftext|>", "<fim_prefix>"]),
    tokenizerConfig: {},
  };
  const openModel = () => Promise.resolve({ ...fakeModel(new FakeRunner()), tokenizer });
  await using fake = await openFakeEngine({}, { openModel });
  assert.deepEqual(fake.engine.model.fim, { supported: false, missing: ["suffix", "middle"] });
  const error = await rejection(
    collect(fake.engine.submit({ prompt: { kind: "infill", prefix: "a", suffix: "b" } })),
  );
  assert.ok(error instanceof InvalidRequestError && error.reason === "fim_unsupported");
  assert.equal(
    error.message,
    "Infill is not supported by this model: suffix token is missing. middle token is missing.",
  );
});

Deno.test("LocalEngine opens a lost device anew: what ran fails with device_lost, what waited goes on", async () => {
  const gate = new Gate();
  let first = true;
  const phases: string[] = [];
  await using fake = await openFakeEngine({
    limits: { maxSequences: 1 },
    beforeStep: () => first ? gate.pass() : undefined,
  }, { onState: ({ phase }) => phases.push(phase) });
  const running = collect(fake.engine.submit(request(textPrompt("running"))));
  const waiting = complete(fake.engine, request(textPrompt("waiting")));
  await until(() => gate.waiting === 1);
  first = false;
  fake.runners[0].loseDevice("driver reset"); // The step under way never answers.
  const error = await rejection(running);
  assert.ok(error instanceof EngineUnavailableError);
  assert.equal(error.reason, "device_lost");
  assert.equal((await waiting).ids.length, 8);
  assert.deepEqual(phases, ["ready", "rebuilding", "ready"]);
  assert.deepEqual([fake.runners.length, fake.runners[0].disposed, fake.runners[1].disposed], [
    2,
    true,
    false,
  ]);
  gate.open();
});

Deno.test("LocalEngine notices while idle that its device is lost", async () => {
  await using fake = await openFakeEngine();
  fake.runners[0].loseDevice();
  await until(() => fake.runners.length === 2);
  assert.equal((await complete(fake.engine, request(textPrompt("x")))).ids.length, 8);
});

Deno.test("LocalEngine fails for good, and all that waits with it, when a lost device cannot be opened again", async () => {
  const limits = { maxSequences: 1 };
  const runner = new FakeRunner({ limits, beforeStep: () => new Promise(() => {}) });
  let opened = 0;
  const openModel = () => {
    if (opened++ > 0) return Promise.reject(new Error("no adapter"));
    return Promise.resolve(fakeModel(runner));
  };
  await using fake = await openFakeEngine({}, { openModel, reopenDelaysMs: [0, 1] });
  const [running, waiting] = [1, 2].map(() =>
    rejection(collect(fake.engine.submit(request(textPrompt("x")))))
  );
  await until(async () => (await fake.engine.stats()).running === 1);
  runner.loseDevice();
  const reasons = (await Promise.all([running, waiting])).map((error) =>
    (error as EngineUnavailableError).reason
  );
  assert.deepEqual(reasons, ["device_lost", "failed"]);
  assert.deepEqual(fake.engine.state, { phase: "failed", reason: "no adapter" });
  assert.equal(opened, 3);
});

Deno.test("LocalEngine fails only the step's requests when a runner throws", async () => {
  let fail = true;
  await using fake = await openFakeEngine({
    limits: { maxSequences: 2 },
    beforeStep: () => {
      if (fail) throw new Error("kernel bug");
    },
  });
  const failing = [1, 2].map(() => rejection(collect(fake.engine.submit(request(textPrompt("x"))))));
  const later = complete(fake.engine, request(textPrompt("later")));
  const errors = await Promise.all(failing.map(async (error) => {
    const { message } = await error;
    fail = false;
    return message;
  }));
  assert.deepEqual(errors, ["kernel bug", "kernel bug"]);
  assert.equal((await later).ids.length, 8);
  const { freeBlocks, totalBlocks } = await fake.engine.stats();
  assert.equal(freeBlocks, totalBlocks);
});

Deno.test("LocalEngine is unavailable while it loads, after it failed to, and once it is closed", async () => {
  const load = Promise.withResolvers<never>();
  const engine = new LocalEngine({ modelId: "fake", openModel: () => load.promise });
  const reasonOf = async () => {
    const error = await rejection(collect(engine.submit(request(textPrompt("x")))));
    assert.ok(error instanceof EngineUnavailableError);
    return error.reason;
  };
  assert.deepEqual(engine.state, { phase: "loading", progress: 0 });
  assert.equal(await reasonOf(), "loading");
  assert.throws(() => engine.model, EngineUnavailableError);
  load.reject(new Error("no such folder"));
  await until(() => engine.state.phase === "failed");
  assert.deepEqual(engine.state, { phase: "failed", reason: "no such folder" });
  assert.equal(await reasonOf(), "failed");
  await engine[Symbol.asyncDispose]();
  assert.equal(await reasonOf(), "closed");
});

Deno.test("LocalEngine[Symbol.asyncDispose]() ends requests in flight and disposes of the runner", async () => {
  const fake = await openFakeEngine();
  const pending = rejection(collect(fake.engine.submit(request(textPrompt("x"), { maxTokens: 100 }))));
  await fake[Symbol.asyncDispose]();
  const error = await pending;
  assert.ok(error instanceof EngineUnavailableError && error.reason === "closed");
  assert.ok(fake.runners[0].disposed);
});

Deno.test("LocalEngine.tokenize() and detokenize() are each other's inverse", async () => {
  await using fake = await openFakeEngine();
  const ids = await fake.engine.tokenize("def é <fim_suffix>", { parseSpecial: true });
  assert.equal(ids.at(-1), 3);
  assert.equal(await fake.engine.detokenize(ids), "def é <fim_suffix>");
  assert.ok(await rejection(fake.engine.detokenize([VOCAB_SIZE])) instanceof InvalidRequestError);
});

Deno.test("LocalEngine survives random requests, aborts and early returns without a leaked block", async () => {
  const one = fc.record({
    length: fc.integer({ min: 1, max: 60 }),
    maxTokens: fc.nat(40),
    n: fc.integer({ min: 1, max: 3 }),
    seed: fc.nat(99),
    readEvents: fc.option(fc.nat(20), { nil: undefined }),
    abort: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(one, { minLength: 1, maxLength: 12 }), async (all) => {
      await using fake = await openFakeEngine({ limits: { numBlocks: 10 } });
      const runs = all.map(async ({ length, maxTokens, n, seed, readEvents, abort }) => {
        const prompt = { kind: "tokens" as const, ids: byteIds("q".repeat(length)) };
        const controller = new AbortController();
        const options = { maxTokens, n, seed, temperature: 1 };
        const events = fake.engine.submit(request(prompt, options), controller.signal);
        let count = 0;
        try {
          for await (const _ of events) {
            if (count++ !== readEvents) continue;
            if (!abort) break;
            controller.abort(new Error("left"));
          }
        } catch (error) {
          assert.equal((error as Error).message, "left");
        }
      });
      await Promise.all(runs);
      const { running, waiting, freeBlocks } = await fake.engine.stats();
      assert.deepEqual([running, waiting, freeBlocks], [0, 0, 10]);
      await new Promise((resolve) => setTimeout(resolve, 1)); // The engine checks its pool when idle.
      assert.equal(fake.engine.state.phase, "ready", "the pool's integrity check must hold");
    }),
    { numRuns: 40 },
  );
});

Deno.test("LocalEngine.submit() refuses nobody for a flood of another class", async () => {
  const classes = fc.constantFrom(...PRIORITIES), maxWaiting = 3;
  const submissions = fc.array(fc.record({ priority: classes, n: fc.integer({ min: 1, max: 2 }) }), {
    minLength: 6,
    maxLength: 20,
  });
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(submissions, async (submissions) => {
      const gate = new Gate();
      await using fake = await openFakeEngine({ beforeStep: () => gate.pass() }, { maxWaiting });
      const counts = new Map<Priority, number>();
      const outcomes = submissions.map(async ({ priority, n }) => {
        const waiting = counts.get(priority) ?? 0, fits = waiting + n <= maxWaiting;
        if (fits) counts.set(priority, waiting + n);
        else refused++;
        const wanted = request(textPrompt("x"), { priority, n, maxTokens: 2 });
        const error = await collect(fake.engine.submit(wanted)).then(() => undefined, (error) => error);
        if (fits) return assert.equal(error, undefined);
        assert.ok(error instanceof EngineUnavailableError && error.reason === "queue_full");
        assert.match(error.message, new RegExp(`at most 3 ${priority} completions`));
      });
      gate.open();
      await Promise.all(outcomes);
    }),
    { numRuns: 60 },
  );
  assert.ok(refused > 60, `too tame: ${refused} were refused`);
});
