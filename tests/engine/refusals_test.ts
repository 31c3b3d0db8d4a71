// Requests that an engine refuses, and what it says.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { EngineUnavailableError, InvalidRequestError } from "../../engine/errors.ts";
import { PRIORITIES, type Priority } from "../../engine/priority.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import {
  collect,
  complete,
  fakeModel,
  Gate,
  openFakeEngine,
  rejection,
  request,
  textPrompt,
  VOCAB_SIZE,
} from "./fake_model.ts";
import { FakeRunner } from "./fake_runner.ts";
import { byteId, byteIds, tinyTokenizerJson } from "./tiny_tokenizer.ts";

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
    ["logitBias", { n: 4, logitBias: Array(4097).fill({ id: 1, delta: 1 }) }],
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
