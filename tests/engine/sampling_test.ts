import assert from "node:assert/strict";
import type { GenerationRequest } from "../../engine/request.ts";
import { LogitAdjuster, randomSeed, samplingParams } from "../../engine/sampling.ts";

const prompt: GenerationRequest["prompt"] = { kind: "tokens", ids: [1] };

Deno.test("samplingParams() defaults to OpenAI's, and splits seed + sample into two words", () => {
  const params = samplingParams({ prompt }, 0xffffffffn, 1);
  assert.deepEqual(params, { temperature: 1, topK: 0, topP: 1, minP: 0, seed: [0, 1] });
  assert.deepEqual(samplingParams({ prompt }, -1n, 0).seed, [0xffffffff, 0xffffffff]);
});

Deno.test("randomSeed() differs from call to call", () => {
  assert.equal(new Set(Array.from({ length: 100 }, randomSeed)).size, 100);
});

Deno.test("LogitAdjuster adds bias, presence and count times frequency, one entry an id", () => {
  const request = { prompt, logitBias: [{ id: 1, delta: 2 }], presencePenalty: 1, frequencyPenalty: 0.5 };
  const adjuster = new LogitAdjuster(request);
  for (const id of [1, 1, 4]) adjuster.count(id);
  const deltas = new Map(adjuster.adjustments(10).map(({ id, delta }) => [id, delta]));
  assert.deepEqual([deltas.get(1), deltas.get(4), deltas.size], [2 - 1 - 1, -1.5, 2]);
});

Deno.test("LogitAdjuster.adjustments() keeps those that change most when there are too many", () => {
  const logitBias = [1, -5, 3].map((delta, id) => ({ id, delta }));
  const adjuster = new LogitAdjuster({ prompt, logitBias });
  assert.deepEqual(adjuster.adjustments(2).map(({ id }) => id).sort(), [1, 2]);
});
