// The sampling kernels on every GPU, against the definition in float64 and against the host's sampler.
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { randomWord } from "../../kernels/sampling/philox.ts";
import { sampleLogits } from "../../kernels/sampling/sample_cpu.ts";
import { maskOf, MAX_MASKS } from "../../kernels/sampling/token_mask.ts";
import type { SampleRequest, StepResult } from "../../kernels/step.ts";
import { gpuTest } from "../gpus.ts";
import { MemorySource } from "./memory_source.ts";
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
import { distanceFromShare, keptTokens, logprobsOf } from "./sampling_reference.ts";

const SUPPRESSED = [3, 0, 10];
const MOST_SAMPLES = 24;
/** Keeps one token, the largest logit. */
const LIKELIEST = { ...GREEDY, temperature: 1, topK: 1 };
/** Rounding of probabilities to f32 shifts the shares by about this much. */
const SHARE_TOLERANCE = 2e-5;

for (const vocabSize of VOCAB_SIZES) {
  gpuTest(`Sampling kernels match the definition (vocabulary ${vocabSize})`, {}, async (gpu) => {
    const random = seededRandom();
    using plan = await samplingPlan(gpu, vocabSize, SUPPRESSED);
    const errors = { share: 0, score: 0 };
    for (let turn = 0; turn < (vocabSize < 1000 ? 8 : 1); turn++) {
      const samples = randomRequests(random, vocabSize);
      const rows = samples.map(() => randomLogits(random, vocabSize));
      const result = await runSamples(plan, samples, rows);
      samples.forEach((sample, i) => checkSample(sample, rows[i], result, i, errors));
    }
    console.log(
      `  largest error of a share ${errors.share.toExponential(1)}, of a score ${
        errors.score.toExponential(1)
      }`,
    );
    ok(errors.score < 1e-5);
  });
}

/** Every truncation once, greedy choices and targets with scores and adjustments, and masks with all of them. */
function randomRequests(random: Random, vocabSize: number): SampleRequest[] {
  const scored = { topLogprobs: Math.min(20, vocabSize) };
  const adjustments = Array.from({ length: 9 }, () => ({ id: random.below(11), delta: random.normal(0, 4) }));
  return [
    ...TRUNCATIONS.map((params, i) =>
      request({ ...params, seed: randomSeed(random) }, {
        counter: random.word(),
        ...(i === 2 && { topLogprobs: 0 }),
        ...(i === 4 && { adjustments }),
      })
    ),
    request({}),
    request({}, scored),
    request({}, { ...scored, adjustments }),
    request({ temperature: 1 }, { ...scored, target: vocabSize - 1 }),
    request({}, { topLogprobs: 1, target: SUPPRESSED[0] }),
    ...maskedRequests(random, vocabSize),
  ];
}

function maskedRequests(random: Random, vocabSize: number): SampleRequest[] {
  const masked = (share: number) => ({ allowed: randomMask(random, vocabSize, share, SUPPRESSED) });
  const seeded = () => ({ temperature: 1, seed: randomSeed(random) });
  return [
    request({}, masked(0.3)),
    request({}, { ...masked(0), topLogprobs: Math.min(20, vocabSize) }),
    request(seeded(), masked(0.5)),
    request({ ...seeded(), topP: 0.8 }, { ...masked(0.1), topLogprobs: 3 }),
    request({ ...seeded(), topK: 4, minP: 0.02 }, { ...masked(0.5), counter: random.word() }),
    request(seeded(), masked(3 / vocabSize)),
    request({}, { ...masked(0), topLogprobs: 0, target: vocabSize - 1 }),
  ];
}

function checkSample(
  sample: SampleRequest,
  logits: Float32Array,
  result: StepResult,
  index: number,
  errors: { share: number; score: number },
): void {
  const adjusted = logits.slice();
  const host = sampleLogits(adjusted, sample, new Set(SUPPRESSED));
  const forbidden = forbiddenIds(sample, logits.length, SUPPRESSED);
  const id = result.tokenIds[index], score = result.scores[index];
  if (sample.params.temperature > 0 && sample.target === undefined) {
    const { topP } = sample.params;
    // Rounding may also keep or drop the last token of top-p, where its mass ends next to the limit.
    const [kept, ...roundings] = (topP < 1 ? [topP, topP - SHARE_TOLERANCE, topP + SHARE_TOLERANCE] : [topP])
      .map((limit) => keptTokens(adjusted, { ...sample.params, topP: limit }, forbidden));
    const draw = randomWord(sample.params.seed, sample.counter) / 2 ** 32;
    const tolerance = SHARE_TOLERANCE + (topP < 1 ? 2 * kept.at(-1)!.probability : 0);
    for (const token of [id, host.id]) {
      const distance = Math.min(
        ...[kept, ...roundings].map((tokens) => distanceFromShare(token, draw, tokens)),
      );
      errors.share = Math.max(errors.share, distance);
      ok(distance <= tolerance, `${JSON.stringify(sample)}: ${token} is ${distance} from its share`);
    }
  } else {
    strictEqual(id, host.id, JSON.stringify(sample));
    if (sample.target === undefined) strictEqual(id, keptTokens(adjusted, LIKELIEST, forbidden)[0].id);
  }
  strictEqual(score === undefined, host.score === undefined);
  if (!score) return;
  const expected = logprobsOf(adjusted);
  deepStrictEqual(score.top.map((top) => top.id), host.score!.top.map((top) => top.id));
  for (const { id: scoredId, logprob } of [{ id, logprob: score.logprob }, ...score.top]) {
    errors.score = Math.max(errors.score, Math.abs(logprob - expected[scoredId]));
  }
}

gpuTest("Sampling a row gives the same bits alone and anywhere in a batch", {}, async (gpu) => {
  const random = seededRandom(), vocabSize = 257;
  using plan = await samplingPlan(gpu, vocabSize, []);
  const samples = randomRequests(random, vocabSize).map((sample) => ({ ...sample, topLogprobs: 5 }));
  const rows = samples.map(() => randomLogits(random, vocabSize));
  const together = await runSamples(plan, samples, rows);
  const reversed = await runSamples(plan, samples.toReversed(), rows.toReversed());
  deepStrictEqual(reversed.tokenIds.toReversed(), together.tokenIds);
  deepStrictEqual(reversed.scores.toReversed(), together.scores);
  for (const i of [0, 4, 13, 19]) {
    const alone = await runSamples(plan, [samples[i]], [rows[i]]);
    strictEqual(alone.tokenIds[0], together.tokenIds[i]);
    deepStrictEqual(alone.scores[0], together.scores[i]);
  }
});

gpuTest(
  "Sampling survives NaN and infinities, and chooses 0 where nothing may be chosen",
  {},
  async (gpu) => {
    using plan = await samplingPlan(gpu, 3, [1]);
    const nothing = await runSamples(
      plan,
      [request({}, { allowed: maskOf([], 3) }), request({ temperature: 1 }, { allowed: maskOf([1], 3) })],
      [Float32Array.of(1, 2, 3), Float32Array.of(1, 2, 3)],
    );
    deepStrictEqual([...nothing.tokenIds], [0, 0]);
    const rows = [[NaN, 5, 2], [-Infinity, 0, -Infinity], [1, Infinity, Infinity], [NaN, 1, NaN], [-0, 9, 0]];
    const greedy = await runSamples(
      plan,
      rows.map(() => request({})),
      rows.map((row) => Float32Array.from(row)),
    );
    deepStrictEqual([...greedy.tokenIds], [2, 0, 2, 0, 0]);
    const warm = request({ temperature: 1, topP: 0.99, topK: 2, minP: 0.1 }, { topLogprobs: 20 });
    const drawn = await runSamples(plan, rows.map(() => warm), rows.map((row) => Float32Array.from(row)));
    deepStrictEqual([...drawn.tokenIds].map((id, i) => i === 1 || i === 4 ? id % 2 : id), [2, 0, 2, 0, 0]);
    for (const score of drawn.scores) strictEqual(score!.top.length, 3, "as many alternatives as there are");
    deepStrictEqual(drawn.scores[2]!.top.map((top) => top.id), [1, 2, 0]);
  },
);

const MAX_F32 = 3.4028234663852886e38;
/** Numbers that are equal though their bits differ, what is no number, or hardly one, and two that are plain. */
const PECULIAR = [
  -0,
  0,
  -Infinity,
  -MAX_F32,
  MAX_F32,
  Infinity,
  NaN,
  1e-45,
  -1e-45,
  1,
  -1,
];
/** Of those that are equal. */
const EQUALS = [[-0, 0], [-Infinity, -MAX_F32], [MAX_F32, Infinity], [Infinity, MAX_F32]] as const;
/** NaN with a sign, which no arithmetic makes on every machine. */
const NEGATIVE_NAN = 0xffc00001;

gpuTest("Greedy choices among equal logits of other bits are the host's", {}, async (gpu) => {
  const random = seededRandom();
  for (const vocabSize of [11, 1100]) {
    using plan = await samplingPlan(gpu, vocabSize, SUPPRESSED);
    for (let turn = 0; turn < 8; turn++) {
      const rows = Array.from({ length: MOST_SAMPLES }, () => peculiarRow(random, vocabSize));
      if (turn === 0) rows.splice(0, EQUALS.length, ...EQUALS.map((equals) => equalRow(equals, vocabSize)));
      const { tokenIds } = await runSamples(plan, rows.map(() => request({})), rows);
      const expected = rows.map((row) => sampleLogits(row.slice(), request({}), new Set(SUPPRESSED)).id);
      deepStrictEqual([...tokenIds], expected);
    }
  }
});

/** The second of the two but for the first ids, of which one is suppressed: the next is to be chosen. */
function equalRow([first, rest]: readonly [number, number], vocabSize: number): Float32Array<ArrayBuffer> {
  const row = new Float32Array(vocabSize).fill(rest);
  row.fill(first, 0, 2);
  return row;
}

/** Few kinds of numbers a row, so that any of them is the largest in some. */
function peculiarRow(random: Random, vocabSize: number): Float32Array<ArrayBuffer> {
  const kinds = Array.from({ length: 1 + random.below(4) }, () => random.below(PECULIAR.length + 1));
  const row = new Float32Array(vocabSize), bits = new Uint32Array(row.buffer);
  for (let id = 0; id < vocabSize; id++) {
    const kind = kinds[random.below(kinds.length)];
    if (kind < PECULIAR.length) row[id] = PECULIAR[kind];
    else bits[id] = NEGATIVE_NAN;
  }
  return row;
}

gpuTest("A step refuses more masks than its buffer has room for", {}, async (gpu) => {
  const most = MAX_MASKS + 1;
  using plan = await samplingPlan(gpu, 3, [], most);
  const masked = Array.from({ length: most }, () => request({}, { allowed: maskOf([1], 3) }));
  const rows = masked.map(() => Float32Array.of(1, 2, 3));
  const full = await runSamples(plan, masked.slice(1), rows.slice(1));
  ok(full.tokenIds.every((id) => id === 1));
  await rejects(runSamples(plan, masked, rows), /masks must be at most 64, received 65/);
});

function seededRandom(): Random {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  return new Random(seed);
}

/** A plan that does nothing but sample from its input. */
function samplingPlan(
  gpu: GpuDevice,
  vocabSize: number,
  suppressed: readonly number[],
  most = MOST_SAMPLES,
): Promise<GpuPlan> {
  const builder = new GraphBuilder();
  const graph = builder.build(builder.input("logits", vocabSize, "samples"));
  const limits = {
    maxTokens: most,
    maxSequences: most,
    maxSamples: most,
    maxBlocksPerSequence: 1,
    numBlocks: most,
  };
  return GpuPlan.create(gpu, graph, new MemorySource(), { limits, kvType: "f32", sampling: { suppressed } });
}

function runSamples(
  plan: GpuPlan,
  samples: readonly SampleRequest[],
  rows: readonly Float32Array[],
): Promise<StepResult> {
  const count = samples.length, index = Uint32Array.from({ length: count }, (_, i) => i);
  const logits = new Float32Array(rows.reduce((sum, row) => sum + row.length, 0));
  rows.forEach((row, i) => logits.set(row, i * row.length));
  return plan.step({
    tokenIds: new Uint32Array(count),
    positions: new Uint32Array(count),
    slotMapping: index.map((i) => i * 16),
    queryStart: Uint32Array.from({ length: count + 1 }, (_, i) => i),
    contextLengths: new Uint32Array(count).fill(1),
    blockTables: samples.map((_, i) => Uint32Array.of(i)),
    samples,
  }, { logits });
}
