// Engines whose device is lost, whose steps fail, that are not open yet or no longer.
import assert from "node:assert/strict";
import { EngineUnavailableError } from "../../engine/errors.ts";
import { LocalEngine } from "../../engine/local_engine.ts";
import {
  collect,
  complete,
  fakeModel,
  Gate,
  openFakeEngine,
  rejection,
  request,
  textPrompt,
  until,
} from "./fake_model.ts";
import { FakeRunner } from "./fake_runner.ts";

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
