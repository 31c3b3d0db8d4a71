// A runner's step may name tokens that the step before draws, and begin before that is done: the tokens are the same.
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { drawnBefore, type SamplingParams, type StepBatch } from "../../kernels/step.ts";
import { loadModel } from "../../models/load_model.ts";
import type { ModelRunner } from "../../models/runner.ts";
import { GPU_PROVIDERS, openTestGpu } from "../gpus.ts";
import { ROOMY } from "./shared_sizes.ts";

const MODEL_DIR = fileURLToPath(new URL("../fixtures/checkpoints/mqa-d40-f32", import.meta.url));
const PROMPTS = [[5, 40, 99, 200, 7], [61], [13, 14, 15, 16, 17, 18, 19, 20, 21]];
const STEPS = 24;
const BLOCKS = 4;
const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] };
const SAMPLED: SamplingParams = { temperature: 1.3, topK: 50, topP: 0.95, minP: 0, seed: [3, 4] };

/** One row of every sequence, in an order that changes from step to step. */
function decodes(step: number, tokens: readonly number[], order: readonly number[]): StepBatch {
  const positions = order.map((sequence) => PROMPTS[sequence].length + step);
  return {
    tokenIds: Uint32Array.from(tokens),
    positions: Uint32Array.from(positions),
    slotMapping: Uint32Array.from(order, (sequence, i) => sequence * BLOCKS * 16 + positions[i]),
    queryStart: Uint32Array.from({ length: order.length + 1 }, (_, i) => i),
    contextLengths: Uint32Array.from(positions, (position) => position + 1),
    blockTables: order.map(tableOf),
    samples: order.map((sequence, row) => sampleOf(sequence, row, step + 1)),
  };
}

function prompts(): StepBatch {
  const rows = PROMPTS.flatMap((ids, sequence) => ids.map((id, position) => ({ id, position, sequence })));
  const ends = PROMPTS.map((_, i) => PROMPTS.slice(0, i + 1).reduce((sum, { length }) => sum + length, 0));
  return {
    tokenIds: Uint32Array.from(rows, ({ id }) => id),
    positions: Uint32Array.from(rows, ({ position }) => position),
    slotMapping: Uint32Array.from(rows, ({ sequence, position }) => sequence * BLOCKS * 16 + position),
    queryStart: Uint32Array.of(0, ...ends),
    contextLengths: Uint32Array.from(PROMPTS, ({ length }) => length),
    blockTables: PROMPTS.map((_, sequence) => tableOf(sequence)),
    samples: ends.map((end, sequence) => sampleOf(sequence, end - 1, 0)),
  };
}

function tableOf(sequence: number): Uint32Array {
  return Uint32Array.from({ length: BLOCKS }, (_, i) => sequence * BLOCKS + i);
}

function sampleOf(sequence: number, row: number, counter: number) {
  return { row, params: sequence === 1 ? SAMPLED : GREEDY, counter, topLogprobs: -1 };
}

/** Sequences that step `step` has rows of: their order turns, so that a token's sample is not its row. */
function orderOf(step: number): number[] {
  return PROMPTS.map((_, i) => (i + step) % PROMPTS.length);
}

/** The tokens by sequence, each known before the next step begins. */
async function oneByOne(runner: ModelRunner): Promise<number[][]> {
  const ids = PROMPTS.map((): number[] => []);
  (await runner.step(prompts())).tokenIds.forEach((id, sequence) => ids[sequence].push(id));
  for (let step = 0; step < STEPS; step++) {
    const order = orderOf(step);
    const { tokenIds } = await runner.step(decodes(step, order.map((one) => ids[one].at(-1)!), order));
    order.forEach((sequence, i) => ids[sequence].push(tokenIds[i]));
  }
  return ids;
}

/** As `oneByOne`, with as many steps under way as the runner takes, none of which is told a token. */
async function inFlight(runner: ModelRunner): Promise<number[][]> {
  const ids = PROMPTS.map((): number[] => []);
  const underWay: { readonly order: readonly number[]; readonly result: ReturnType<ModelRunner["step"]> }[] =
    [];
  async function takeFirst() {
    const { order, result } = underWay.shift()!;
    (await result).tokenIds.forEach((id, i) => ids[order[i]].push(id));
  }
  let before = PROMPTS.map((_, sequence) => sequence);
  underWay.push({ order: before, result: runner.step(prompts()) });
  for (let step = 0; step < STEPS; step++) {
    if (underWay.length === runner.stepsInFlight) await takeFirst();
    const order = orderOf(step);
    const tokens = order.map((sequence) => drawnBefore(before.indexOf(sequence)));
    underWay.push({ order, result: runner.step(decodes(step, tokens, order)) });
    before = order;
  }
  while (underWay.length > 0) await takeFirst();
  return ids;
}

for (const device of GPU_PROVIDERS) {
  Deno.test(`GpuRunner draws the same tokens where a step takes them from the one before [${device}]`, async () => {
    using gpu = await openTestGpu(device);
    if (!gpu) return;
    const options = {
      modelDir: MODEL_DIR,
      device,
      profile: "safe",
      kvBytes: 2 ** 21,
      ...ROOMY,
    } as const;
    await using runner = (await loadModel(options)).runner;
    strictEqual(runner.stepsInFlight, device === "dawn" ? 2 : 1);
    const expected = await oneByOne(runner);
    ok(new Set(expected.flat()).size > 10, "the tokens hardly vary");
    deepStrictEqual(await inFlight(runner), expected);
  });
}
