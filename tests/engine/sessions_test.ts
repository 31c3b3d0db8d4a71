// Newest wins: what supersedes what, and how a superseded request ends.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import type { Priority } from "../../engine/priority.ts";
import type { GenerationRequest, Requester } from "../../engine/request.ts";
import { Sessions } from "../../engine/sessions.ts";
import {
  collect,
  complete,
  completionOf,
  Gate,
  openFakeEngine,
  request,
  textPrompt,
  until,
} from "./fake_model.ts";

const TEXT = "def area(width, height):\n    return width";

function infill(prefix: string, requester: Requester | undefined, options: Partial<GenerationRequest> = {}) {
  const prompt = { kind: "infill" as const, prefix, suffix: "\n\nprint(area(2, 3))\n" };
  return { prompt, ...(requester && { requester }), ...options };
}

function isSuperseded(older: GenerationRequest, newer: GenerationRequest): boolean {
  const sessions = new Sessions<string>();
  sessions.add("older", older);
  return sessions.supersededBy(newer).length > 0;
}

const ANN = { key: "team", client: "10.0.0.1" };
const NAMED = { key: "team", session: "ann" };

const CASES: [name: string, older: GenerationRequest, newer: GenerationRequest, expected: boolean][] = [
  ["the same session, whatever the prompt", infill("a", NAMED), infill("zzz", NAMED), true],
  ["another session", infill(TEXT, NAMED), infill(TEXT + " ", { ...NAMED, session: "bob" }), false],
  ["the session's name under another key", infill("a", NAMED), infill("b", { ...NAMED, key: "x" }), false],
  ["the session's name without a key", infill("a", NAMED), infill("b", { session: "ann" }), false],
  ["a named session, and a client without a name", infill(TEXT, NAMED), infill(TEXT + " ", ANN), false],
  ["no requester", infill(TEXT, undefined), infill(TEXT + " ", undefined), false],
  ["typing, without a session", infill(TEXT, ANN), infill(TEXT + " ", ANN), true],
  ["deleting, without a session", infill(TEXT, ANN), infill(TEXT.slice(0, -3), ANN), true],
  ["the same prompt from the same client", infill(TEXT, ANN), infill(TEXT, ANN), false],
  ["another client", infill(TEXT, ANN), infill(TEXT + " ", { ...ANN, client: "10.0.0.2" }), false],
  ["a client that is not known", infill(TEXT, { key: "team" }), infill(TEXT + " ", { key: "team" }), false],
  ["a client of another key", infill(TEXT, ANN), infill(TEXT + " ", { ...ANN, key: "x" }), false],
  ["another line", infill(TEXT + " * 2", ANN), infill(TEXT + " + 2", ANN), false],
  ["too short to be known again", infill("x", ANN), infill("xy", ANN), false],
  ["a leap that nobody types", infill(TEXT, ANN), infill(TEXT + "x".repeat(300), ANN), false],
  ["another suffix", infill(TEXT, ANN), {
    ...infill(TEXT + " ", ANN),
    prompt: { kind: "infill", prefix: TEXT + " ", suffix: "" },
  }, false],
  ["a plain prompt that grows, without a session", { prompt: textPrompt(TEXT), requester: ANN }, {
    prompt: textPrompt(TEXT + " "),
    requester: ANN,
  }, false],
  ["a prompt to be scored", infill("a", NAMED, { echoPrompt: true, logprobs: 0 }), infill("b", NAMED), false],
];

for (const [name, older, newer, expected] of CASES) {
  Deno.test(`Sessions.supersededBy() with ${name}`, () => assert.equal(isSuperseded(older, newer), expected));
}

Deno.test("Sessions.supersededBy() leaves the more urgent and all batch work alone", () => {
  const ended = (older: Priority, newer: Priority) =>
    isSuperseded(infill("a", NAMED, { priority: older }), infill("b", NAMED, { priority: newer }));
  const classes = ["live", "speculative", "warm-up", "batch"] as const;
  const pairs = classes.flatMap((newer) => classes.map((older) => [older, newer] as const));
  assert.deepEqual(pairs.filter(([older, newer]) => ended(older, newer)), [
    ["live", "live"],
    ["speculative", "live"],
    ["speculative", "speculative"],
    ["warm-up", "warm-up"],
  ]);
});

Deno.test("Sessions.supersededBy() never ends the request of another key, session or client", () => {
  const requester = fc.record({
    key: fc.constantFrom("a", "b"),
    session: fc.constantFrom("s", "t"),
    client: fc.constantFrom("1", "2"),
  }, { requiredKeys: [] });
  const one = fc.record({ requester, typed: fc.nat(5) });
  fc.assert(fc.property(fc.array(one, { minLength: 2, maxLength: 12 }), (all) => {
    const sessions = new Sessions<Requester>();
    for (const { requester, typed } of all) {
      const wanted = infill(TEXT + "x".repeat(typed), requester);
      for (const ended of sessions.supersededBy(wanted)) {
        assert.deepEqual([ended.key, ended.session], [requester.key, requester.session]);
        if (requester.session === undefined) assert.equal(ended.client, requester.client);
        sessions.delete(ended);
      }
      sessions.add(requester, wanted);
    }
  }));
});

Deno.test("LocalEngine ends a superseded request in the queue, in prefill and in decode, with what it has", async () => {
  const gate = new Gate();
  await using fake = await openFakeEngine({
    limits: { maxSequences: 1 },
    stepsInFlight: 1,
    beforeStep: () => gate.pass(),
  });
  using _ = { [Symbol.dispose]: () => gate.open() };
  const { engine } = fake;
  const submit = (text: string) =>
    collect(engine.submit(request(textPrompt(text), { requester: NAMED, maxTokens: 50 })));
  const step = async (steps: number) => {
    gate.openOnce();
    await until(async () => (await engine.stats()).steps === steps && gate.waiting === 1);
  };
  const other = collect(engine.submit(request(textPrompt("other"), { maxTokens: 1 })));
  await until(() => gate.waiting === 1);
  const queued = submit("queued");
  const prefilling = submit("z".repeat(40));
  assert.deepEqual((await engine.stats()).supersededIn, { queue: 1, prefill: 0, decode: 0 });
  await step(1);
  await other;
  const decoding = submit("decoding");
  assert.deepEqual((await engine.stats()).supersededIn, { queue: 1, prefill: 1, decode: 0 });
  await step(2);
  await step(3);
  await step(4);
  const last = submit("last");
  const { supersededIn, cancelled } = await engine.stats();
  assert.deepEqual([supersededIn, cancelled], [{ queue: 1, prefill: 1, decode: 1 }, 0]);
  gate.open();
  for (const [ended, numTokens] of [[queued, 0], [prefilling, 0], [decoding, 2]] as const) {
    const { finish, ids } = completionOf(await ended);
    assert.deepEqual([finish.reason, ids.length], ["superseded", numTokens]);
  }
  assert.equal(completionOf(await last).finish.reason, "length");
  const { freeBlocks, totalBlocks } = await engine.stats();
  assert.equal(freeBlocks, totalBlocks);
});

Deno.test("LocalEngine supersedes for no request that it refuses, and makes room for one that it takes", async () => {
  const gate = new Gate();
  await using fake = await openFakeEngine({ beforeStep: () => gate.pass() }, { maxWaiting: 1 });
  using _ = { [Symbol.dispose]: () => gate.open() };
  const submit = (text: string) =>
    complete(fake.engine, request(textPrompt(text), { requester: NAMED, maxTokens: 2 }));
  const first = submit("first");
  await assert.rejects(submit("p".repeat(500)), /at most 127 tokens/);
  const second = submit("second");
  gate.open();
  assert.deepEqual([(await first).finish.reason, (await second).finish.reason], ["superseded", "length"]);
});

Deno.test("LocalEngine ends a superseded warm-up once for each sample", async () => {
  const gate = new Gate();
  await using fake = await openFakeEngine({ beforeStep: () => gate.pass() });
  using _ = { [Symbol.dispose]: () => gate.open() };
  const warmUp = { requester: NAMED, priority: "warm-up" as const, maxTokens: 0, n: 2 };
  const [old, fresh] = ["old", "fresh"].map((text) =>
    collect(fake.engine.submit(request(textPrompt(text), warmUp)))
  );
  gate.open();
  for (const k of [0, 1]) assert.equal(completionOf(await old, k).finish.reason, "superseded");
  assert.equal(completionOf(await fresh).finish.reason, "length");
});
