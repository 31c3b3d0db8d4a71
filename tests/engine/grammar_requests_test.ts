// Requests with a grammar: they follow it, and nothing that it does holds the engine up.
import assert from "node:assert/strict";
import type { GenerationRequest } from "../../engine/request.ts";
import { collect, complete, openFakeEngine, textPrompt, until } from "./fake_model.ts";

function wanted(pattern: string, options: Partial<GenerationRequest> = {}): GenerationRequest {
  const grammar = { field: "guided_regex", kind: "regex", pattern } as const;
  return { prompt: textPrompt("x = "), maxTokens: 30, temperature: 0, grammar, ...options };
}

Deno.test("LocalEngine follows a grammar to its end, in every sample, whatever end tokens are to be ignored", async () => {
  await using fake = await openFakeEngine({}, { tokenHealing: true });
  const { text, finish, prompt } = await complete(fake.engine, wanted("[a-c]{3}d"));
  assert.match(text, /^[a-c]{3}d$/);
  assert.deepEqual([finish.reason, prompt.healed], ["eos", undefined], "a grammar goes before healing");
  const events = await collect(
    fake.engine.submit(wanted("[a-c]{3}d", { n: 3, temperature: 1, seed: 7, ignoreEos: true, logprobs: 1 })),
  );
  for (let sample = 0; sample < 3; sample++) {
    const tokens = events.filter((event) => event.kind === "token" && event.sample === sample);
    assert.match(tokens.map((event) => event.kind === "token" ? event.text : "").join(""), /^[a-c]{3}d$/);
  }
  const { freeBlocks, totalBlocks, running, waiting } = await fake.engine.stats();
  assert.deepEqual([freeBlocks, running, waiting], [totalBlocks, 0, 0]);
});

Deno.test("LocalEngine serves others while a grammar is compiled, and refuses one that is none as the request's fault", async () => {
  await using fake = await openFakeEngine();
  const held = complete(fake.engine, wanted("[a-c]{2}"));
  const ended: string[] = [];
  await Promise.all([
    held.then(() => ended.push("held")),
    complete(fake.engine, { prompt: textPrompt("y"), maxTokens: 5, ignoreEos: true }).then(() =>
      ended.push("free")
    ),
  ]);
  assert.deepEqual(ended, ["free", "held"]);
  await assert.rejects(complete(fake.engine, wanted("(")), {
    name: "InvalidRequestError",
    field: "guided_regex",
  });
  await assert.rejects(
    complete(fake.engine, wanted("", { grammar: { field: "f", kind: "jsonSchema", schema: '{"not":{}}' } })),
    /"f" cannot be followed: the schema has "not"/,
  );
  await assert.rejects(complete(fake.engine, wanted("a".repeat(70_000))), /at most 65536 characters/);
});

Deno.test("LocalEngine counts the wait for a grammar as time in the queue, not as time to read the prompt", async () => {
  const clock = { now: 0 };
  await using fake = await openFakeEngine({}, { now: () => clock.now });
  const held = complete(fake.engine, wanted("[a-c]{3}", { deadlines: { promptMs: 500 } }));
  held.catch(() => {}); // Or a failed assertion would be hidden behind the engine's end.
  await until(async () => (await fake.engine.stats()).steps === 1);
  const [{ stage, computedTokens, promptTokens }] = await fake.engine.sequences();
  assert.deepEqual([stage, computedTokens], ["prefill", promptTokens - 1], "all but the row to draw from");
  clock.now = 1000;
  const { text, finish } = await held;
  assert.match(text, /^[a-c]{3}$/);
  assert.deepEqual(finish.timings, { queueMs: 1000, promptMs: 0, predictedMs: 0 });
});

Deno.test("LocalEngine lets a request with a grammar be cancelled at any time", async () => {
  await using fake = await openFakeEngine();
  for (const delay of [0, 5, 2000]) {
    const controller = new AbortController();
    const events = collect(fake.engine.submit(wanted("[a-c]{400}", { maxTokens: 100 }), controller.signal));
    await new Promise((resolve) => setTimeout(resolve, delay));
    controller.abort(new Error("left"));
    await events.catch(() => {});
  }
  const { freeBlocks, totalBlocks, running, waiting } = await fake.engine.stats();
  assert.deepEqual([freeBlocks, running, waiting], [totalBlocks, 0, 0]);
});

Deno.test("LocalEngine ends a request whose grammar is being compiled when the device that holds its blocks is lost", async () => {
  await using fake = await openFakeEngine({}, { reopenDelaysMs: [0] });
  const { engine, runners } = fake;
  const held = complete(engine, wanted("[a-c]{3}", { prompt: textPrompt("x") })); // No row before its draw.
  await until(async () => (await engine.stats()).running === 1);
  assert.equal(runners[0].steps, 0);
  runners[0].loseDevice();
  await assert.rejects(held, { name: "EngineUnavailableError", reason: "device_lost" });
  await complete(engine, { prompt: textPrompt("y"), maxTokens: 5 });
  const { freeBlocks, totalBlocks, running, waiting } = await engine.stats();
  assert.deepEqual([freeBlocks, running, waiting], [totalBlocks, 0, 0]);
});

Deno.test("LocalEngine keeps a deadline while nothing but the compiling of a grammar goes on", async () => {
  await using fake = await openFakeEngine({}, { now: () => performance.now() });
  const slow = wanted("((a{1,999}){1,999}){1,999}", { deadlines: { totalMs: 50 } });
  const { ids, finish } = await complete(fake.engine, slow);
  assert.deepEqual([ids, finish.reason], [[], "length"]);
  assert.equal((await fake.engine.stats()).running, 0);
});
