// A prompt in one step, then steps of single tokens, give the logits of the whole text in one step: H3, StripedHyena, exact
// Hyena and its modal form, at lengths around those at which kernels change their form, up to a context's longest.
import { ok } from "node:assert/strict";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { CpuPlan } from "../../kernels/cpu_plan.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { BLOCK_SIZE, type StepBatch, type StepLimits } from "../../kernels/step.ts";
import { CopyingSource, type TensorInfo } from "../../kernels/tensor_source.ts";
import { readJson } from "../../models/checkpoint.ts";
import { distilCheckpoint } from "../../models/distil.ts";
import type { Network } from "../../models/network.ts";
import { architectureOf } from "../../models/registry.ts";
import { SafetensorsSource } from "../../models/safetensors.ts";
import { EVERY_CASE } from "../every_case.ts";
import { gpuTest } from "../gpus.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { packBatch, TestSequence } from "./cpu_models.ts";
import { caseFolder, openCase, relativeError, STRIPED_CASE } from "./long_conv_cases.ts";
import { withFolder } from "./safetensors_bytes.ts";

const LONG_CONTEXT = 4160, SHORT_CONTEXT = 320;
/** Single tokens after each prompt. */
const STEPS = 2;
/** Relative to the largest logit. */
const TOLERANCE = 1e-4;
const NUM_IDS = 250;

/** A context's longest prompt is the last. */
function lengthsIn(context: number): number[] {
  return [1, 2, 63, 64, 65, 1000, 4096, context - STEPS].filter((length) => length <= context - STEPS);
}

function limitsFor(context: number): StepLimits {
  return {
    maxTokens: context,
    maxSequences: 1,
    maxSamples: (STEPS + 1) * lengthsIn(context).length,
    maxBlocksPerSequence: context / BLOCK_SIZE,
    numBlocks: 2 * context / BLOCK_SIZE,
    numStateSlots: 2,
  };
}

/** Logits of the sampled rows. */
type Run = (batch: StepBatch) => Promise<Float64Array>;

const CASES = ["h3-attention", STRIPED_CASE, "hyena-lm", "hyena-modal"] as const;

/** The network with so long a context. */
async function withNetwork(
  name: (typeof CASES)[number],
  context: number,
  body: (network: Network) => Promise<void>,
): Promise<void> {
  if (name === "hyena-modal") {
    return await withFolder({}, async (folder) => {
      await distilCheckpoint(caseFolder("hyena-lm"), folder, { numModes: 12 });
      const config = await readJson(folder, "config.json", "") as Record<string, unknown>;
      using source = await SafetensorsSource.open(`${folder}/model.safetensors`);
      await body(build(config, source, context));
    });
  }
  using opened = await openCase(name);
  await body(build(opened.config, opened.source, context));
}

function build(config: Record<string, unknown>, source: SafetensorsSource, context: number): Network {
  const key = ["max_position_embeddings", "max_seqlen", "max_seq_len"].find((key) => key in config)!;
  const longer = { ...config, [key]: context };
  return architectureOf(longer).build(longer, new LongerPositions(source, context));
}

/** A Hyena checkpoint with more stored positions, from which its filters are made: others between those there are. */
class LongerPositions extends CopyingSource {
  readonly #source: SafetensorsSource;
  readonly #count: number;

  constructor(source: SafetensorsSource, count: number) {
    super();
    this.#source = source;
    this.#count = count;
  }

  find(name: string): TensorInfo | undefined {
    const info = this.#source.find(name);
    return info && isPositions(name) ? { ...info, shape: [1, this.#count, info.shape[2]] } : info;
  }

  async readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = await this.#source.readRows(name, start, end);
    if (!isPositions(name)) return bytes;
    const [, length, width] = this.#source.find(name)!.shape;
    const stored = new Float32Array(bytes.buffer), longer = new Float32Array(this.#count * width);
    for (let t = 0; t < this.#count; t++) {
      const place = t * (length - 1) / (this.#count - 1), before = Math.floor(place), share = place - before;
      for (let i = 0; i < width; i++) {
        const next = stored[Math.min(before + 1, length - 1) * width + i];
        longer[t * width + i] = (1 - share) * stored[before * width + i] + share * next;
      }
    }
    return new Uint8Array(longer.buffer);
  }
}

function isPositions(name: string): boolean {
  return name.endsWith("pos_emb.z");
}

async function check(run: Run, vocabSize: number, context: number): Promise<void> {
  const seed = testSeed(), lengths = lengthsIn(context), numBlocks = context / BLOCK_SIZE;
  const text = [...new Random(seed).integers(context, NUM_IDS)].map((id) => id + 5);
  const blocksFrom = (first: number) => Array.from({ length: numBlocks }, (_, i) => first + i);
  const rows = lengths.flatMap((length) => Array.from({ length: STEPS + 1 }, (_, i) => length - 1 + i));
  const whole = packBatch([{ sequence: new TestSequence(text, blocksFrom(0)), count: context }]);
  const sampled = rows.map((row) => ({ ...whole.samples[0], row }));
  const expected = await run({ ...whole, samples: sampled, stateSlots: Uint32Array.of(0) });
  let worst = 0;
  for (const [i, length] of lengths.entries()) {
    const sequence = new TestSequence(text, blocksFrom(numBlocks));
    for (const [k, count] of [length, ...new Array(STEPS).fill(1)].entries()) {
      const logits = await run({ ...packBatch([{ sequence, count }]), stateSlots: Uint32Array.of(1) });
      sequence.numCached += count;
      const sample = i * (STEPS + 1) + k;
      const error = relativeError(logits, expected.subarray(sample * vocabSize, (sample + 1) * vocabSize));
      ok(error <= TOLERANCE, `seed ${seed}: ${length} tokens and ${k} steps: off by ${error}`);
      worst = Math.max(worst, error);
    }
  }
  console.log(`  seed ${seed}: off by ${worst.toExponential(1)} at most`);
}

for (const name of CASES) {
  Deno.test(`prefill, then steps, give the whole text's logits: ${name} [cpu]`, async () => {
    await withNetwork(name, LONG_CONTEXT, async ({ graph, tensors, vocabSize }) => {
      using plan = await CpuPlan.create(graph, tensors!, { limits: limitsFor(LONG_CONTEXT), numThreads: 1 });
      const run: Run = async (batch) => {
        const logits = new Float64Array(batch.samples.length * vocabSize);
        await plan.step(batch, (index, row) => logits.set(row, index * vocabSize));
        return logits;
      };
      await check(run, vocabSize, LONG_CONTEXT);
    });
  });
}

const ON_GPUS = CASES.flatMap((name) => (["safe", "fast"] as const).map((profile) => ({ name, profile })));

for (const { name, profile } of ON_GPUS.filter(({ profile }) => EVERY_CASE || profile === "safe")) {
  gpuTest(
    `prefill, then steps, give the whole text's logits: ${name} (${profile})`,
    { profile, drawn: name !== CASES[0] },
    async (gpu) => {
      await checkOnGpu(gpu, name, EVERY_CASE ? LONG_CONTEXT : SHORT_CONTEXT);
    },
  );
}

async function checkOnGpu(gpu: GpuDevice, name: (typeof CASES)[number], context: number): Promise<void> {
  await withNetwork(name, context, async ({ graph, tensors, vocabSize }) => {
    using plan = await GpuPlan.create(gpu, graph, tensors!, {
      limits: limitsFor(context),
      kvType: "f32",
      sampling: { suppressed: [] },
    });
    const run: Run = async (batch) =>
      Float64Array.from((await plan.step({ ...batch, readLogits: true })).logits!);
    await check(run, vocabSize, context);
  });
}
