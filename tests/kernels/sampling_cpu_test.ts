// The host's sampler against the definition, and its random numbers against known answers.
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { mulHigh, philox4x32 } from "../../kernels/sampling/philox.ts";
import { sampleLogits } from "../../kernels/sampling/sample_cpu.ts";
import { hasToken, maskOf } from "../../kernels/sampling/token_mask.ts";
import type { SamplingParams } from "../../kernels/step.ts";
import { Random, testSeed } from "./random.ts";
import {
  forbiddenIds,
  GREEDY,
  randomLogits,
  randomMask,
  randomSeed,
  request,
  TRUNCATIONS,
  VOCAB_SIZES,
} from "./sampling_cases.ts";
import { chiSquareDeviation, keptTokens, logprobsOf } from "./sampling_reference.ts";

const NOTHING: ReadonlySet<number> = new Set();

Deno.test("philox4x32() gives the known answers of Random123", () => {
  const ones = 0xffffffff;
  // Counter, key, answer: kat_vectors of Random123, philox4x32 with 10 rounds.
  const known = [
    [[0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
    [[ones, ones, ones, ones], [ones, ones], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], [
      0xd16cfe09,
      0x94fdcceb,
      0x5001e420,
      0x24126ea1,
    ]],
  ] as const;
  for (const [counter, key, answer] of known) deepStrictEqual([...philox4x32(counter, key)], [...answer]);
});

Deno.test("mulHigh() is the upper word of the exact product", () => {
  const random = new Random(testSeed());
  const words = [0, 1, 0xffff, 0x10000, 0x80000000, 0xffffffff, ...random.integers(100, 2 ** 32)];
  for (const a of words) {
    for (const b of words.slice(0, 20)) {
      strictEqual(mulHigh(a, b), Number((BigInt(a) * BigInt(b)) >> 32n), `${a} * ${b}`);
    }
  }
});

Deno.test("sampleLogits() at temperature 0 takes the largest logit, the lowest id of equals", () => {
  const greedy = (logits: number[], suppressed: number[] = []) =>
    sampleLogits(Float32Array.from(logits), request({}), new Set(suppressed)).id;
  strictEqual(greedy([-3, -1, -2, -1]), 1);
  strictEqual(greedy([-0, 0]), 0);
  strictEqual(greedy([NaN, -5, NaN]), 1);
  strictEqual(greedy([-Infinity, -1e38]), 1);
  strictEqual(greedy([1, Infinity, 3]), 1);
  strictEqual(greedy([5, 4, 3], [0, 7]), 1);
  strictEqual(greedy([NaN, NaN]), 0);
});

Deno.test("sampleLogits() reports a target without choosing it, suppressed or not", () => {
  const logits = Float32Array.of(1, 2, 3);
  deepStrictEqual(sampleLogits(logits, request({ temperature: 1 }, { target: 1 }), new Set([1])), { id: 1 });
});

Deno.test("sampleLogits() adds adjustments before it chooses", () => {
  const adjustments = [{ id: 0, delta: 1.5 }, { id: 2, delta: -100 }, { id: 0, delta: 1 }];
  strictEqual(sampleLogits(Float32Array.of(1, 2, 3), request({}, { adjustments }), NOTHING).id, 0);
});

Deno.test("sampleLogits() draws just the tokens that are left, each as often as it should", () => {
  const random = new Random(testSeed());
  const numDraws = 4000;
  let largest = 0;
  for (const vocabSize of [11, 257]) {
    for (const truncation of TRUNCATIONS) {
      const logits = randomLogits(random, vocabSize), suppressed = new Set([3, vocabSize - 1]);
      const params: SamplingParams = { ...GREEDY, ...truncation, seed: randomSeed(random) };
      const draws = Array.from(
        { length: numDraws },
        (_, counter) => sampleLogits(logits, request(params, { counter }), suppressed).id,
      );
      const deviation = chiSquareDeviation(draws, keptTokens(logits, params, suppressed));
      ok(deviation < 5, `vocabulary ${vocabSize}, ${JSON.stringify(params)}: ${deviation} deviations`);
      largest = Math.max(largest, deviation);
    }
  }
  console.log(`  largest chi-square: ${largest.toFixed(1)} standard deviations`);
});

Deno.test("sampleLogits() chooses among those of its mask alone, each as often as it should", () => {
  const random = new Random(testSeed());
  const suppressed = [3, 0];
  for (const vocabSize of [11, 33, 257]) {
    for (const share of [0.05, 0.5, 1]) {
      for (const truncation of [...TRUNCATIONS, { temperature: 0 }]) {
        const logits = randomLogits(random, vocabSize);
        const allowed = randomMask(random, vocabSize, share, suppressed);
        const params: SamplingParams = { ...GREEDY, ...truncation, seed: randomSeed(random) };
        const numDraws = params.temperature > 0 ? 2000 : 1;
        const sample = (counter: number) =>
          request(params, { counter, allowed, topLogprobs: counter % 2 - 1 });
        const draws = Array.from(
          { length: numDraws },
          (_, counter) => sampleLogits(logits, sample(counter), new Set(suppressed)).id,
        );
        const forbidden = forbiddenIds(sample(0), vocabSize, suppressed);
        const reference = params.temperature > 0 ? params : { ...params, temperature: 1, topK: 1 };
        const kept = keptTokens(logits, reference, forbidden);
        const what = `vocabulary ${vocabSize}, share ${share}, ${JSON.stringify(params)}`;
        if (params.temperature === 0) strictEqual(draws[0], kept[0].id, what);
        else ok(chiSquareDeviation(draws, kept) < 5, what);
      }
    }
  }
});

Deno.test("sampleLogits() scores by all tokens, those outside the mask included", () => {
  const random = new Random(testSeed()), vocabSize = 257;
  const logits = randomLogits(random, vocabSize), allowed = randomMask(random, vocabSize, 0.01, [5]);
  const expected = logprobsOf(logits);
  const { id, score } = sampleLogits(logits, request({}, { allowed, topLogprobs: 3 }), new Set([5]));
  ok(hasToken(allowed, id) && id !== 5);
  ok(Math.abs(score!.logprob - expected[id]) < 1e-5);
  const order = [...expected.keys()].sort((a, b) => expected[b] - expected[a] || a - b);
  deepStrictEqual(score!.top.map((top) => top.id), order.slice(0, 3));
});

Deno.test("sampleLogits() takes id 0 where a mask has nothing that may be chosen", () => {
  const logits = () => Float32Array.of(1, 2, NaN);
  for (const ids of [[], [1], [2]]) {
    for (const temperature of [0, 1]) {
      for (const topLogprobs of [-1, 1]) {
        const sample = request({ temperature }, { allowed: maskOf(ids, 3), topLogprobs });
        strictEqual(sampleLogits(logits(), sample, new Set([1])).id, 0);
      }
    }
  }
});

Deno.test("The draws' comparison notices a wrong sampler", () => {
  // Fixed logits and a fixed seed, so that the test's power is not a matter of luck: no two logits are equal, and the
  // six largest are as good as equally likely.
  const logits = Float32Array.from({ length: 257 }, (_, id) => 3 * Math.sin(id));
  const params = { ...GREEDY, temperature: 1 };
  const draws = (change: Partial<SamplingParams>) =>
    Array.from(
      { length: 8000 },
      (_, counter) => sampleLogits(logits, request({ ...params, ...change }, { counter }), NOTHING).id,
    );
  const kept = (change: Partial<SamplingParams>) => keptTokens(logits, { ...params, ...change }, NOTHING);
  ok(Math.abs(chiSquareDeviation(draws({}), kept({}))) < 3);
  ok(chiSquareDeviation(draws({ temperature: 1.2 }), kept({})) > 5);
  strictEqual(chiSquareDeviation(draws({ topK: 6 }), kept({ topK: 5 })), Infinity);
  ok(chiSquareDeviation(draws({ topP: 0.5 }), kept({ topP: 0.9 })) > 5);
});

Deno.test("sampleLogits() survives extreme logits and temperatures", () => {
  const cases: [number[], number[]][] = [
    [[Infinity, 0, Infinity], [0, 2]],
    [[-Infinity, -Infinity], [0, 1]],
    [[NaN, 2, NaN], [1]],
    [[NaN, NaN], [0]],
    [[3e38, -3e38], [0]],
  ];
  for (const [logits, possible] of cases) {
    for (const temperature of [1e-30, 1, 1e30]) {
      const params = { temperature, topP: 0.99 };
      const { id } = sampleLogits(Float32Array.from(logits), request(params), NOTHING);
      ok(possible.includes(id) || temperature === 1e30, `${logits} at ${temperature}: ${id}`);
      ok(id < logits.length);
    }
  }
});

Deno.test("sampleLogits() scores as the log-softmax does, alternatives best first", () => {
  const random = new Random(testSeed());
  let largest = 0;
  for (const vocabSize of VOCAB_SIZES) {
    const logits = randomLogits(random, vocabSize);
    const expected = logprobsOf(logits);
    const order = [...expected.keys()].sort((a, b) => expected[b] - expected[a] || a - b);
    const suppressed = new Set([order[0]]);
    const { id, score } = sampleLogits(logits, request({}, { topLogprobs: 20 }), suppressed);
    strictEqual(id, order[1]);
    deepStrictEqual(score!.top.map((top) => top.id), order.slice(0, 20));
    largest = Math.max(largest, Math.abs(score!.logprob - expected[id]));
    for (const top of score!.top) largest = Math.max(largest, Math.abs(top.logprob - expected[top.id]));
  }
  console.log(`  largest error of a log-probability: ${largest.toExponential(1)}`);
  ok(largest < 1e-5);
});
