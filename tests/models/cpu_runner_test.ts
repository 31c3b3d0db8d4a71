// The CPU runner on small random decoders, by our kernels and by onnxruntime-web: against the float64 reference, and
// against itself, where our kernels must agree to the bit.
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { BLOCK_SIZE } from "../../kernels/step.ts";
import { CpuRunner } from "../../models/cpu_runner.ts";
import { MemorySource } from "../kernels/memory_source.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { relativeError } from "../kernels/relative_error.ts";
import {
  CONTEXT_LENGTH,
  DECODER_SHAPES,
  packBatch,
  type RandomDecoder,
  randomDecoder,
  TestSequence,
  VOCAB_SIZE,
} from "./cpu_models.ts";

const BLOCKS_PER_SEQUENCE = CONTEXT_LENGTH / BLOCK_SIZE;
const MAX_SEQUENCES = 16;
const MAX_SAMPLES = 128;
/** Largest |logit difference| relative to the largest |logit|, for arithmetic in f32. */
const TOLERANCE = 2e-5;

const RUNTIMES = ["kernels", "onnx"] as const;
type Runtime = (typeof RUNTIMES)[number];

/** Our kernels sum a row in one order whatever the batch and the chunk; onnxruntime does not. */
function toleranceBetweenBatches(runtime: Runtime): number {
  return runtime === "kernels" ? 0 : TOLERANCE;
}

function createRunner({ graph, source }: RandomDecoder, runtime: Runtime): Promise<CpuRunner> {
  return CpuRunner.create(graph, source, {
    runtime,
    contextLength: CONTEXT_LENGTH,
    kvBytes: 2 ** 28,
    maxBatchTokens: 1024,
    maxSequences: MAX_SAMPLES,
    suppressed: [],
    numThreads: 2,
  });
}

function seededRandom(): Random {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  return new Random(seed);
}

/** Disjoint block tables for `count` sequences, in random order. */
function shuffledBlocks(random: Random, count: number): number[][] {
  const ids = Array.from({ length: count * BLOCKS_PER_SEQUENCE }, (_, i) => i);
  for (let i = ids.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [ids[i], ids[j]] = [ids[j], ids[i]];
  }
  return Array.from(
    { length: count },
    (_, i) => ids.slice(i * BLOCKS_PER_SEQUENCE, (i + 1) * BLOCKS_PER_SEQUENCE),
  );
}

/** Runs one step and moves the sequences on; a sequence whose tokens are all cached takes the sampled one. */
async function step(runner: CpuRunner, chunks: readonly { sequence: TestSequence; count: number }[]) {
  const { tokenIds, logits } = await runner.step(packBatch(chunks));
  chunks.forEach(({ sequence, count }, i) => {
    sequence.numCached += count;
    if (sequence.numCached === sequence.tokens.length) sequence.tokens.push(tokenIds[i]);
  });
  return logits!;
}

/** Prefills in chunks of at most `chunk` tokens, then decodes greedily; returns the logits of each new token. */
async function generate(runner: CpuRunner, sequence: TestSequence, count: number, chunk = Infinity) {
  const rows: Float32Array[] = [];
  while (rows.length < count) {
    const left = sequence.tokens.length - sequence.numCached;
    const logits = await step(runner, [{ sequence, count: Math.min(left, chunk) }]);
    if (left <= chunk) rows.push(logits);
  }
  return rows;
}

for (const runtime of RUNTIMES) {
  for (const decoder of DECODER_SHAPES) {
    Deno.test(`CpuRunner matches the float64 reference: ${decoder.name} [${runtime}]`, async () => {
      const random = seededRandom();
      const model = randomDecoder(random, decoder);
      await using runner = await createRunner(model, runtime);
      const reference = await ReferenceExecutor.create(model.graph, model.source);
      const tables = shuffledBlocks(random, 3);
      const sequences = [37, 1, 70].map((length, i) =>
        new TestSequence(random.integers(length, VOCAB_SIZE), tables[i])
      );
      // A mixed step: two prompts in part or whole beside a single token, then steps of ragged decodes and chunks.
      for (const counts of [[20, 1, 70], [17, 1, 1], [1, 1, 1], [1, 1, 1]]) {
        const chunks = sequences.map((sequence, i) => ({ sequence, count: counts[i] }));
        const batch = packBatch(chunks, { everyRow: true });
        const error = relativeError((await runner.step(batch)).logits!, reference.step(batch).output);
        console.log(`  ${error.toExponential(1)}  rows ${counts}`);
        ok(error <= TOLERANCE, `error ${error} exceeds ${TOLERANCE}`);
        for (const { sequence, count } of chunks) {
          sequence.numCached += count;
          if (sequence.numCached === sequence.tokens.length) sequence.tokens.push(random.below(VOCAB_SIZE));
        }
      }
    });
  }

  Deno.test(`CpuRunner: prefill in chunks, and token by token, gives the logits of prefill in one piece [${runtime}]`, async () => {
    const random = seededRandom();
    const model = randomDecoder(random, DECODER_SHAPES[0]);
    await using runner = await createRunner(model, runtime);
    const prompt = random.integers(75, VOCAB_SIZE), tables = shuffledBlocks(random, 3);
    const results: Float32Array[] = [];
    for (const [i, chunk] of [Infinity, 31, 1].entries()) {
      const sequence = new TestSequence(prompt, tables[i]);
      results.push((await generate(runner, sequence, 1, chunk))[0]);
    }
    const [whole, ...others] = results;
    for (const logits of others) ok(relativeError(logits, whole) <= toleranceBetweenBatches(runtime));
  });

  Deno.test(`CpuRunner: a ragged batch of 16 decodes as each of its sequences alone [${runtime}]`, async () => {
    const random = seededRandom();
    const model = randomDecoder(random, DECODER_SHAPES[1]);
    await using runner = await createRunner(model, runtime);
    const prompts = Array.from(
      { length: MAX_SEQUENCES },
      () => random.integers(1 + random.below(80), VOCAB_SIZE),
    );
    const tables = shuffledBlocks(random, MAX_SEQUENCES);

    const alone: number[][] = [];
    const aloneLogits: Float32Array[][] = [];
    for (const [i, prompt] of prompts.entries()) {
      const sequence = new TestSequence(prompt, tables[i]);
      aloneLogits.push(await generate(runner, sequence, 24));
      alone.push(sequence.tokens.slice(prompt.length));
    }
    const sequences = prompts.map((prompt, i) => new TestSequence(prompt, tables[i]));
    for (let i = 0; i < 24; i++) {
      await step(
        runner,
        sequences.map((sequence) => ({ sequence, count: sequence.tokens.length - sequence.numCached })),
      );
    }
    sequences.forEach((sequence, i) => {
      const together = sequence.tokens.slice(prompts[i].length);
      const difference = together.findIndex((token, t) => token !== alone[i][t]);
      if (difference < 0) return;
      const logits = aloneLogits[i][difference];
      const gap = Math.abs(logits[together[difference]] - logits[alone[i][difference]]);
      const largest = logits.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      ok(
        gap < toleranceBetweenBatches(runtime) * largest,
        `sequence ${i} differs at token ${difference}, and not by a tie: ${gap}`,
      );
    });
  });

  Deno.test(`CpuRunner never reads what another sequence left in a block or in the staging area [${runtime}]`, async () => {
    const random = seededRandom();
    const model = randomDecoder(random, DECODER_SHAPES[3]);
    const tables = shuffledBlocks(random, 4);
    const prompts = [60, 45, 50, 33].map((length) => random.integers(length, VOCAB_SIZE));
    const start = (i: number, table: number) => new TestSequence(prompts[i], tables[table]);

    await using fresh = await createRunner(model, runtime);
    const expected = await generate(fresh, start(3, 0), 8);

    await using used = await createRunner(model, runtime);
    const [first, second, third] = [start(0, 0), start(1, 1), start(2, 2)];
    for (let i = 0; i < 5; i++) {
      await step(
        used,
        [first, second, third].map((sequence) => ({
          sequence,
          count: sequence.tokens.length - sequence.numCached,
        })),
      );
    }
    // The first sequence ends; another takes its blocks and, after the batch closed ranks, somebody's place.
    const newcomer = start(3, 0);
    const actual: Float32Array[] = [];
    for (let i = 0; i < 8; i++) {
      const sequences = i % 2 === 0 ? [third, newcomer, second] : [newcomer, second];
      const logits = await step(
        used,
        sequences.map((sequence) => ({ sequence, count: sequence.tokens.length - sequence.numCached })),
      );
      const row = sequences.indexOf(newcomer);
      actual.push(logits.subarray(row * VOCAB_SIZE, (row + 1) * VOCAB_SIZE));
    }
    const tolerance = toleranceBetweenBatches(runtime);
    expected.forEach((logits, i) => ok(relativeError(actual[i], logits) <= tolerance, `token ${i}`));
  });

  Deno.test(`CpuRunner scores targets and honours suppressed ids [${runtime}]`, async () => {
    const random = seededRandom();
    const model = randomDecoder(random, DECODER_SHAPES[0]);
    await using plain = await createRunner(model, runtime);
    const prompt = random.integers(20, VOCAB_SIZE), [table] = shuffledBlocks(random, 1);
    const batch = (sampling = {}) =>
      packBatch([{ sequence: new TestSequence(prompt, table), count: 20 }], sampling);
    const { tokenIds, logits } = await plain.step(batch());

    await using suppressing = await CpuRunner.create(model.graph, model.source, {
      runtime,
      contextLength: CONTEXT_LENGTH,
      kvBytes: 2 ** 28,
      maxBatchTokens: 1024,
      maxSequences: 1,
      suppressed: [tokenIds[0]],
      numThreads: 1,
    });
    const second = await suppressing.step(batch());
    const rest = [...logits!].map((logit, id) => id === tokenIds[0] ? -Infinity : logit);
    strictEqual(second.tokenIds[0], rest.indexOf(Math.max(...rest)));

    const scored = await plain.step(batch({ everyRow: true, target: 7, topLogprobs: 2 }));
    deepStrictEqual([...scored.tokenIds], new Array(20).fill(7));
    strictEqual(scored.scores.length, 20);
    const last = [...scored.logits!.subarray(19 * VOCAB_SIZE)];
    const largest = Math.max(...last);
    const logSum = largest + Math.log(last.reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
    const score = scored.scores[19]!;
    ok(Math.abs(score.logprob - (last[7] - logSum)) < 1e-4, `log-probability ${score.logprob}`);
    strictEqual(score.top[0].id, tokenIds[0]);
  });
}

Deno.test("CpuRunner.create() refuses a model that WebAssembly cannot hold, before it reads a tensor", async () => {
  const { graph } = randomDecoder(new Random(1), DECODER_SHAPES[0]);
  const huge = { name: "huge", shape: [2 ** 20, 2 ** 10] };
  const source = new MemorySource();
  source.find = (name) => ({ name, dtype: "F32", shape: huge.shape });
  source.readRows = () => Promise.reject(new Error("read"));
  const nodes = graph.nodes.filter((node) => node.op === "gatherRows").map((node) => ({
    op: "embedding" as const,
    table: huge,
    output: node.input,
  }));
  const options = {
    contextLength: 64,
    kvBytes: 2 ** 20,
    maxBatchTokens: 64,
    maxSequences: 1,
    suppressed: [],
    numThreads: 1,
  };
  const oversized = { nodes, kvLayers: [], historyLayers: [], stateLayers: [], output: nodes[0].output };
  await rejects(CpuRunner.create(oversized, source, { ...options, runtime: "kernels" }), {
    name: "RangeError",
    message: /may take 4294967296 bytes, this model needs 4\d{9}; lower --kv-memory, quantise the model/,
  });
  await rejects(CpuRunner.create(oversized, source, { ...options, runtime: "onnx" }), {
    name: "RangeError",
    message: /onnxruntime holds weights in f32/,
  });
});
