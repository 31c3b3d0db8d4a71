// What an engine shows of itself: sequences in flight, counts of steps, and of what was cancelled where.
import assert from "node:assert/strict";
import { collect, Gate, openFakeEngine, request, textPrompt, until } from "./fake_model.ts";
import { FAKE_LIMITS } from "./fake_runner.ts";
import { byteIds } from "./tiny_tokenizer.ts";

Deno.test("LocalEngine.sequences() shows what each sequence holds, and no prompt unless it is asked for", async () => {
  const clock = { now: 1000 };
  const gate = new Gate();
  const runner = { limits: { maxSequences: 1, maxTokens: 24 }, beforeStep: () => gate.pass() };
  await using fake = await openFakeEngine(runner, { now: () => clock.now });
  using _ = { [Symbol.dispose]: () => gate.open() };
  const { engine } = fake;
  assert.deepEqual(await engine.sequences(), []);
  const completions = Promise.all([
    collect(engine.submit(request(textPrompt("p".repeat(30)), { requestId: "first" }))),
    collect(engine.submit(request(textPrompt("secret"), { temperature: 0.5, topK: 4, priority: "batch" }))),
  ]);
  completions.catch(() => {}); // Or a failed assertion would be hidden behind the engine's end.
  await until(() => gate.waiting === 1);
  clock.now = 1250;
  const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0 };
  const [first, second] = await engine.sequences();
  assert.deepEqual(first, {
    requestId: "first",
    arrival: 0,
    sample: 0,
    stage: "prefill",
    priority: "live",
    ageMs: 250,
    promptTokens: 30,
    computedTokens: 0,
    generatedTokens: 0,
    hasNewLine: false,
    maxTokens: 8,
    blocks: 2,
    ...sampling,
  });
  assert.deepEqual(second, {
    arrival: 1,
    sample: 0,
    stage: "queue",
    priority: "batch",
    ageMs: 250,
    promptTokens: 4, // The tiny vocabulary has merges.
    computedTokens: 0,
    generatedTokens: 0,
    hasNewLine: false,
    maxTokens: 8,
    blocks: 0,
    ...sampling,
    temperature: 0.5,
    topK: 4,
  });
  assert.equal((await engine.sequences({ withPrompts: true }))[1].prompt, "secret");
  let [latest] = await engine.sequences();
  // The first step took long by the clock, so the next are short.
  for (let steps = 1; latest.stage === "prefill"; steps++) {
    gate.openOnce();
    await until(async () => (await engine.stats()).steps === steps && gate.waiting === 1);
    [latest] = await engine.sequences();
    assert.equal(latest.generatedTokens, latest.stage === "decode" ? 1 : 0);
  }
  assert.deepEqual([latest.stage, latest.computedTokens], ["decode", 30]);
  gate.open();
  await completions;
  assert.deepEqual(await engine.sequences(), []);
});

Deno.test("LocalEngine.sequences() tells a line break of the completion as soon as it is delivered", async () => {
  const gate = new Gate();
  const written = byteIds("a\nbcdefg");
  await using fake = await openFakeEngine({
    beforeStep: () => gate.pass(),
    stepsInFlight: 1,
    next: (_, { counter }) => written[counter],
  });
  using _ = { [Symbol.dispose]: () => gate.open() };
  const { engine } = fake;
  // The prompt's line break is none of the completion's, and the first drawn may become a stop string's.
  const wanted = request(textPrompt("x\n"), { stop: ["\n\n"], speculation: false });
  const completion = collect(engine.submit(wanted));
  completion.catch(() => {});
  const seen: [number, boolean][] = [];
  for (let steps = 1; steps < 4; steps++) {
    await until(() => gate.waiting === 1);
    gate.openOnce();
    await until(async () => (await engine.stats()).steps === steps && gate.waiting === 1);
    const [{ generatedTokens, hasNewLine }] = await engine.sequences();
    seen.push([generatedTokens, hasNewLine]);
  }
  assert.deepEqual(seen, [[1, false], [2, false], [3, true]]);
  gate.open();
  await completion;
});

Deno.test("LocalEngine.stats() counts steps, their sequences and rows, and the longest context", async () => {
  await using fake = await openFakeEngine();
  const none = await fake.engine.stats();
  assert.deepEqual([none.batchSize, none.stepSequences, none.computedTokens, none.longestContext], [
    0,
    0,
    0,
    0,
  ]);
  const wanted = [request(textPrompt("abc"), { maxTokens: 4 }), request(textPrompt("x"), { maxTokens: 4 })];
  await Promise.all(wanted.map((each) => collect(fake.engine.submit(each))));
  const { steps, batchSize, stepSequences, computedTokens, longestContext } = await fake.engine.stats();
  // The last token of each is drawn and never computed: 3 + 3 rows and 1 + 3 rows.
  assert.deepEqual([batchSize, stepSequences, computedTokens, longestContext], [2, 2 * steps, 10, 6]);
  assert.equal(computedTokens, fake.runners[0].rows);
});

Deno.test("LocalEngine.stats() adds up what steps took, and not what lies between them", async () => {
  let time = 0;
  const ticks = () => time++;
  await using fake = await openFakeEngine({}, { now: ticks });
  await collect(fake.engine.submit(request(textPrompt("abc"), { maxTokens: 4 })));
  const { steps, stepMs } = await fake.engine.stats();
  assert.ok(stepMs >= steps, `each step takes a tick at least: ${stepMs} in ${steps} steps`);
  assert.ok(stepMs < time - steps, `and there are others: ${time} ticks in all`);
});

Deno.test("LocalEngine.stats() tells cancellations in the queue, in prefill and in decode apart", async () => {
  const gate = new Gate();
  const limits = { maxSequences: 1, maxTokens: 8 };
  await using fake = await openFakeEngine({ limits, beforeStep: () => gate.pass(), stepsInFlight: 1 });
  const { engine } = fake;
  function start(prompt: string) {
    const iterator = engine.submit(request(textPrompt(prompt)))[Symbol.asyncIterator]();
    return { leave: () => iterator.return!() };
  }
  const decoding = start("a");
  await until(() => gate.waiting === 1);
  gate.openOnce();
  await until(async () => (await engine.stats()).generatedTokens === 1);
  const queued = start("b");
  await queued.leave();
  await decoding.leave();
  const reading = start("p".repeat(20));
  await until(() => gate.waiting === 1);
  gate.openOnce();
  await until(async () => (await engine.sequences()).some(({ stage }) => stage === "prefill"));
  await reading.leave();
  gate.open();
  const { cancelled, cancelledIn, freeBlocks } = await engine.stats();
  assert.deepEqual([cancelled, cancelledIn], [3, { queue: 1, prefill: 1, decode: 1 }]);
  assert.equal(freeBlocks, FAKE_LIMITS.numBlocks);
});
