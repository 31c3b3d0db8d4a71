// How one HTTP request's prompts reach the engine: a few at a time, and none once the client has left.
import assert from "node:assert/strict";
import type { GenerationEvent, GenerationRequest } from "../../engine/request.ts";
import { Exchange } from "../../routes/exchange.ts";
import { generate, MOST_AT_THE_DOOR } from "../../routes/generation.ts";
import { until } from "./delay.ts";
import { FakeEngine } from "./fake_engine.ts";

const NUM_PROMPTS = 100;
const STANDING = { priority: "live", requester: {} } as const;

/** Takes requests in when it is told to; each then says what its prompt is, and waits for the signal. */
class SlowDoor extends FakeEngine {
  readonly doors: PromiseWithResolvers<void>[] = [];

  override async *submit(request: GenerationRequest, signal?: AbortSignal): AsyncGenerator<GenerationEvent> {
    const door = Promise.withResolvers<void>(), left = Promise.withResolvers<never>();
    left.promise.catch(() => {});
    signal!.addEventListener("abort", () => left.reject(signal!.reason));
    this.doors.push(door);
    await Promise.race([door.promise, left.promise]);
    yield { kind: "prompt", tokenIds: [this.doors.length], truncated: false };
    for await (const event of super.submit(request, signal)) if (event.kind !== "prompt") yield event;
  }
}

function start(engine: SlowDoor) {
  const left = new AbortController();
  const exchange = new Exchange({ id: "1", method: "POST", path: "/", watchers: [], now: () => 0 });
  const requests = Array.from({ length: NUM_PROMPTS }, (_, i): GenerationRequest => ({
    prompt: { kind: "text", text: `${i}`, parseSpecial: false },
    maxTokens: 2,
  }));
  const events = generate(engine, requests, {
    exchange,
    signal: left.signal,
    standing: STANDING,
    deadlines: {},
  });
  return { left, done: Array.fromAsync(events) };
}

Deno.test("generate() hands the engine a few prompts, and another for each that it has taken in", async () => {
  const engine = new SlowDoor();
  const { done } = start(engine);
  await until(() => engine.doors.length === MOST_AT_THE_DOOR, "the first are there");
  for (let taken = 0; taken < NUM_PROMPTS; taken++) {
    assert.equal(engine.doors.length, Math.min(NUM_PROMPTS, MOST_AT_THE_DOOR + taken));
    engine.doors[taken].resolve();
    await until(
      () => engine.doors.length === Math.min(NUM_PROMPTS, MOST_AT_THE_DOOR + taken + 1),
      "the next has come",
    );
  }
  const events = await done;
  const finished = events.filter(({ event }) => event.kind === "finish").map(({ prompt }) => prompt);
  assert.deepEqual(finished.sort((a, b) => a - b), Array.from({ length: NUM_PROMPTS }, (_, i) => i));
});

Deno.test("generate() hands over nothing more once the client has left", async () => {
  const engine = new SlowDoor();
  const { left, done } = start(engine);
  await until(() => engine.doors.length === MOST_AT_THE_DOOR, "the first are there");
  left.abort();
  await assert.rejects(done, /closed the request/);
  for (const door of engine.doors) door.resolve();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(engine.doors.length, MOST_AT_THE_DOOR);
});
