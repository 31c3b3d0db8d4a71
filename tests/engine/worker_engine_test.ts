import assert from "node:assert/strict";
import type { EngineOptions } from "../../engine/engine_options.ts";
import { EngineUnavailableError, InvalidRequestError } from "../../engine/errors.ts";
import { WorkerEngine } from "../../engine/worker_engine.ts";
import {
  collect,
  complete,
  completionOf,
  openFakeEngine,
  rejection,
  request,
  textPrompt,
  until,
  VOCAB_SIZE,
} from "./fake_model.ts";

const ENTRY = new URL("./fake_worker.ts", import.meta.url);

/** `modelDir` names what goes wrong in the worker; see fake_worker.ts. */
function start(modelDir = "fine", entry = ENTRY): WorkerEngine {
  const options: EngineOptions = { modelId: "fake", load: { modelDir, device: "cpu" } };
  return new WorkerEngine(options, entry);
}

async function open(modelDir?: string): Promise<WorkerEngine> {
  const engine = start(modelDir);
  await until(() => engine.state.phase !== "loading");
  return engine;
}

Deno.test("WorkerEngine gives what the engine in its worker gives", async () => {
  await using fake = await openFakeEngine();
  await using engine = await open();
  assert.deepEqual(engine.state, { phase: "ready" });
  assert.deepEqual(engine.model, fake.engine.model);
  const wanted = request(textPrompt("def f(x):"), {
    n: 2,
    seed: 3,
    temperature: 1,
    logprobs: 1,
    echoPrompt: true,
  });
  const [there, here] = [await collect(engine.submit(wanted)), await collect(fake.engine.submit(wanted))];
  assert.deepEqual(there[0], here[0]);
  for (const k of [0, 1]) assert.deepEqual(completionOf(there, k).ids, completionOf(here, k).ids);
  const ids = await engine.tokenize("x <fim_suffix>", { parseSpecial: true });
  assert.deepEqual(ids, await fake.engine.tokenize("x <fim_suffix>", { parseSpecial: true }));
  assert.equal(await engine.detokenize(ids), "x <fim_suffix>");
  assert.deepEqual({ ...await engine.stats(), stepMs: 0 }, { ...await fake.engine.stats(), stepMs: 0 });
  assert.deepEqual(await engine.sequences({ withPrompts: true }), []);
  assert.deepEqual(await engine.blocks(), await fake.engine.blocks());
});

Deno.test("WorkerEngine carries errors across as what they were", async () => {
  await using engine = await open("throw");
  await using fake = await openFakeEngine();
  const long = request({ kind: "tokens", ids: Array(1000).fill(1) });
  const [there, here] = await Promise.all(
    [engine, fake.engine].map((one) => rejection(collect(one.submit(long)))),
  );
  assert.ok(there instanceof InvalidRequestError);
  assert.deepEqual({ ...there, message: there.message }, { ...here, message: here.message });
  const invalid = await rejection(collect(engine.submit(request(textPrompt("p".repeat(200))))));
  assert.ok(invalid instanceof InvalidRequestError);
  assert.deepEqual([invalid.field, invalid.reason, invalid.tokens], [
    "prompt",
    "context_length_exceeded",
    { prompt: 200, context: 128 },
  ]);
  assert.ok(await rejection(engine.detokenize([VOCAB_SIZE])) instanceof InvalidRequestError);
  const bug = await rejection(complete(engine, request(textPrompt("x"))));
  assert.deepEqual([bug.name, bug.message], ["TypeError", "kernel bug"]);
  assert.equal((await complete(engine, request(textPrompt("x")))).ids.length, 8, "the engine lives on");
});

Deno.test("WorkerEngine cancels in the worker, although its steps never wait for anything", async () => {
  await using engine = await open("endless");
  const controller = new AbortController();
  // More than the worker can make before a cancellation reaches it, however late that is.
  const wanted = request(textPrompt("x"), { maxTokens: 200_000 });
  const aborted = engine.submit(wanted, controller.signal)[Symbol.asyncIterator]();
  const returned = engine.submit(wanted)[Symbol.asyncIterator]();
  await aborted.next();
  await returned.next();
  controller.abort(new Error("left"));
  await returned.return!();
  assert.equal((await rejection(aborted.next())).message, "left");
  await until(async () => (await engine.stats()).running === 0);
  const { cancelled, generatedTokens, freeBlocks, totalBlocks } = await engine.stats();
  assert.ok(
    cancelled === 2 && generatedTokens < 400_000,
    `${cancelled} cancelled, ${generatedTokens} tokens`,
  );
  assert.equal(freeBlocks, totalBlocks);
});

Deno.test("WorkerEngine fails all requests and takes no more when its worker crashes", async () => {
  await using engine = await open("crash");
  const requests = [1, 2].map(() => rejection(complete(engine, request(textPrompt("x")))));
  for (const error of await Promise.all(requests)) {
    assert.ok(error instanceof EngineUnavailableError);
    assert.equal(error.reason, "failed");
    assert.match(error.message, /segfault of a kind/);
  }
  assert.equal(engine.state.phase, "failed");
  assert.ok(await rejection(engine.stats()) instanceof EngineUnavailableError);
});

Deno.test("WorkerEngine fails when the model cannot be loaded, or the worker's module is broken", async () => {
  await using missing = await open("missing");
  assert.deepEqual(missing.state, { phase: "failed", reason: "no such folder" });
  await using broken = start("fine", new URL("?broken", ENTRY));
  await until(() => broken.state.phase === "failed");
  assert.match((broken.state as { reason: string }).reason, /broken module/);
});

Deno.test("WorkerEngine is unavailable while it loads and once it is closed, and ends what runs when it closes", async () => {
  const engine = start();
  const loading = await rejection(complete(engine, request(textPrompt("x"))));
  assert.ok(loading instanceof EngineUnavailableError && loading.reason === "loading");
  await until(() => engine.state.phase === "ready");
  const running = rejection(complete(engine, request(textPrompt("x"), { maxTokens: 120 })));
  await engine[Symbol.asyncDispose]();
  for (const error of [await running, await rejection(engine.tokenize("x"))]) {
    assert.ok(error instanceof EngineUnavailableError && error.reason === "closed");
  }
});
