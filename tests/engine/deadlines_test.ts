import assert from "node:assert/strict";
import { type Deadlines, type Progress, verdictAt } from "../../engine/deadlines.ts";
import { EngineUnavailableError } from "../../engine/errors.ts";
import { collect, completionOf, Gate, openFakeEngine, request, textPrompt, until } from "./fake_model.ts";
import { byteIds } from "./tiny_tokenizer.ts";

const WAITING: Progress = { submittedAt: 100, startedAt: undefined, promptComputed: false, draws: true };
const READING: Progress = { ...WAITING, startedAt: 150 };
const DRAWING: Progress = { ...READING, promptComputed: true };

const VERDICTS: [name: string, deadlines: Deadlines, progress: Progress, now: number, expected?: string][] = [
  ["no deadline", {}, WAITING, 1e9],
  ["the queue deadline not yet passed", { queueMs: 50 }, WAITING, 150],
  ["the queue deadline passed", { queueMs: 50 }, WAITING, 151, "fail"],
  ["the queue deadline passed after the start", { queueMs: 50 }, READING, 1e9],
  ["the prompt deadline, which the queue does not count for", { promptMs: 50 }, WAITING, 1e9],
  ["the prompt deadline not yet passed", { promptMs: 50 }, READING, 200],
  ["the prompt deadline passed", { promptMs: 50 }, READING, 201, "cut"],
  ["the prompt deadline passed in time for the prompt", { promptMs: 50 }, DRAWING, 1e9],
  ["the prompt deadline of a warm-up", { promptMs: 1 }, { ...READING, draws: false }, 1e9],
  ["the total deadline in the queue", { totalMs: 50 }, WAITING, 151, "fail"],
  ["the total deadline in the prompt", { totalMs: 60 }, READING, 161, "cut"],
  ["the total deadline while drawing", { totalMs: 60 }, DRAWING, 161, "cut"],
];

for (const [name, deadlines, progress, now, expected] of VERDICTS) {
  Deno.test(`verdictAt() at ${name}`, () => assert.equal(verdictAt(now, deadlines, progress), expected));
}

/** An engine on a clock that the test turns, whose steps wait at a gate. */
async function openHeld(next?: Parameters<typeof openFakeEngine>[0]) {
  const clock = { now: 0 };
  const gate = new Gate();
  const fake = await openFakeEngine({ ...next, beforeStep: () => gate.pass() }, { now: () => clock.now });
  return { clock, gate, fake, [Symbol.asyncDispose]: () => (gate.open(), fake[Symbol.asyncDispose]()) };
}

Deno.test("LocalEngine fails what waits longer than its queue deadline, and frees its place", async () => {
  await using held = await openHeld({ limits: { maxSequences: 1 } });
  const { engine } = held.fake;
  const first = collect(engine.submit(request(textPrompt("x"))));
  await until(() => held.gate.waiting === 1);
  const second = collect(engine.submit(request(textPrompt("y"), { deadlines: { queueMs: 100 } })));
  const failed = assert.rejects(second, (error) => {
    assert.ok(error instanceof EngineUnavailableError && error.reason === "timeout");
    assert.match(error.message, /nothing to show after 101 ms/);
    return true;
  });
  held.clock.now = 101;
  held.gate.open();
  await failed;
  assert.equal(completionOf(await first).ids.length, 8);
  const { waiting, running, freeBlocks, totalBlocks } = await engine.stats();
  assert.deepEqual([waiting, running, freeBlocks], [0, 0, totalBlocks]);
});

for (const deadlines of [{ queueMs: 100 }, { totalMs: 100 }]) {
  const [name] = Object.keys(deadlines);
  Deno.test(`LocalEngine begins no step for whom ${name} has run out while the place was taken`, async () => {
    const clock = { now: 0 };
    let steps = 0;
    const beforeStep = async () => {
      if (++steps < 8) return;
      await new Promise((resolve) => setTimeout(resolve, 0)); // By then deadlines were looked at for this step.
      clock.now = 101;
    };
    await using fake = await openFakeEngine({ limits: { maxSequences: 1 }, beforeStep }, {
      now: () => clock.now,
      speculation: false,
    });
    const first = collect(fake.engine.submit(request(textPrompt("x"), { maxTokens: 8 })));
    const second = collect(fake.engine.submit(request(textPrompt("y"), { deadlines })));
    await assert.rejects(second, (error) => {
      assert.ok(error instanceof EngineUnavailableError && error.reason === "timeout");
      return true;
    });
    assert.equal(completionOf(await first).ids.length, 8);
    assert.equal(steps, 8);
  });
}

Deno.test("LocalEngine ends a prompt that takes longer than its deadline with no token, every sample", async () => {
  await using held = await openHeld({ limits: { maxTokens: 8 } });
  const long = request(textPrompt("p".repeat(40)), { n: 2, deadlines: { promptMs: 50 } });
  const events = collect(held.fake.engine.submit(long));
  await until(() => held.gate.waiting === 1);
  held.clock.now = 51;
  held.gate.open();
  for (const sample of [0, 1]) {
    const { ids, finish } = completionOf(await events, sample);
    assert.deepEqual([ids, finish.reason, finish.timings.promptMs], [[], "length", 51]);
  }
  const { freeBlocks, totalBlocks, steps } = await held.fake.engine.stats();
  assert.deepEqual([freeBlocks, steps], [totalBlocks, 2], "the second had begun");
});

Deno.test("LocalEngine does not count the step before against the prompt deadline of whose step has begun ahead", async () => {
  await using held = await openHeld();
  const { gate, clock, fake: { engine, runners: [runner] } } = held;
  const run = runner.step.bind(runner);
  let begun = 0;
  runner.step = (batch) => {
    begun++;
    return run(batch);
  };
  const first = collect(engine.submit(request(textPrompt("x"), { maxTokens: 20, speculation: false })));
  await until(() => gate.waiting === 1 && begun === 2);
  const second = collect(engine.submit(request(textPrompt("y"), { deadlines: { promptMs: 50 } })));
  gate.openOnce();
  await until(() => gate.waiting === 1 && begun === 3);
  // The second of the first's steps takes long; the other's prompt, which is a single token, has been given to the runner.
  clock.now = 1000;
  gate.open();
  const { ids, finish } = completionOf(await second);
  await first;
  assert.deepEqual([ids.length, finish.timings.queueMs], [8, 1000]);
});

Deno.test("LocalEngine finishes a warm-up whatever its prompt deadline", async () => {
  await using held = await openHeld({ limits: { maxTokens: 8 } });
  const warmUp = request(textPrompt("p".repeat(40)), {
    maxTokens: 0,
    deadlines: { promptMs: 1, predictMs: 1 },
  });
  const events = collect(held.fake.engine.submit(warmUp));
  await until(() => held.gate.waiting === 1);
  held.clock.now = 1000;
  held.gate.open();
  await events;
  assert.equal((await held.fake.engine.stats()).promptTokens, 40);
});

Deno.test("LocalEngine ends a sample after its predict deadline at the next line break, which it delivers", async () => {
  const text = "a\nbc\nd";
  const ids = byteIds(text);
  await using held = await openHeld({ next: (_, { counter }) => ids[counter] ?? 0 });
  const wanted = { prompt: textPrompt("x"), maxTokens: 20, deadlines: { predictMs: 10 } };
  const events = collect(held.fake.engine.submit(wanted));
  for (let step = 0; step < 3; step++) { // a, line break, b
    await until(() => held.gate.waiting === 1);
    held.gate.openOnce();
    await until(async () => (await held.fake.engine.stats()).steps === step + 1);
  }
  await until(() => held.gate.waiting === 1);
  held.clock.now = 11;
  held.gate.open();
  const completion = completionOf(await events);
  assert.deepEqual([completion.text, completion.finish.reason], ["a\nbc\n", "length"]);
});

Deno.test("LocalEngine ends what runs past its total deadline with what it has", async () => {
  await using held = await openHeld();
  const events = collect(held.fake.engine.submit(request(textPrompt("x"), { deadlines: { totalMs: 10 } })));
  await until(() => held.gate.waiting === 1);
  held.gate.openOnce();
  await until(async () => (await held.fake.engine.stats()).steps === 1);
  await until(() => held.gate.waiting === 1);
  held.clock.now = 11;
  held.gate.open();
  const { ids, finish } = completionOf(await events);
  assert.deepEqual([ids.length, finish.reason], [2, "length"], "the step under way is finished");
});

Deno.test("LocalEngine fails a prompt that was to be scored and is not, for it has nothing to show", async () => {
  await using held = await openHeld({ limits: { maxTokens: 8 } });
  const scored = request(textPrompt("p".repeat(40)), {
    echoPrompt: true,
    logprobs: 0,
    deadlines: { promptMs: 50 },
  });
  const events = assert.rejects(collect(held.fake.engine.submit(scored)), EngineUnavailableError);
  await until(() => held.gate.waiting === 1);
  held.clock.now = 51;
  held.gate.open();
  await events;
});

Deno.test("LocalEngine refuses a deadline that is no time", async () => {
  await using fake = await openFakeEngine();
  const wrong = request(textPrompt("x"), { deadlines: { promptMs: -1 } });
  await assert.rejects(
    collect(fake.engine.submit(wrong)),
    /deadlines.promptMs must be a number of at least 0/,
  );
});
