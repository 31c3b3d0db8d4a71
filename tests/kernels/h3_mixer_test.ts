// H3's golden mixer (filters/h3_golden.ts) on every GPU and on the CPU: weights in f32, the prompt at once and one token
// after another.
import { ok } from "node:assert/strict";
import { CpuPlan } from "../../kernels/cpu_plan.ts";
import { tapsByLag } from "../../kernels/filters/shift_filter.ts";
import { columnsOf } from "../../kernels/columns.ts";
import type { Graph } from "../../kernels/graph.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import type { StepBatch } from "../../kernels/step.ts";
import { gpuTest } from "../gpus.ts";
import { goldenFill } from "./filters/golden_fill.ts";
import {
  FIRST_OUTPUT,
  LAST_OUTPUT,
  LENGTH,
  MODES,
  pairsOf,
  shiftFilters,
  STATE,
  WIDTH,
} from "./filters/h3_golden.ts";
import { MemorySource } from "./memory_source.ts";

/** Outputs reach 14. */
const TOLERANCE = 14e-5;
const LIMITS = {
  maxTokens: LENGTH,
  maxSequences: 1,
  maxSamples: 1,
  maxBlocksPerSequence: 1,
  numBlocks: 1,
  numStateSlots: 1,
};
const SPLITS = [[LENGTH], [1, 1, 1, 1, 1, 1], [2, 4]];

type RunStep = (batch: StepBatch, x: Float32Array<ArrayBuffer>) => Promise<Float32Array>;

for (const profile of ["safe", "fast"] as const) {
  gpuTest(`H3's golden mixer comes out (${profile})`, { profile }, async (gpu) => {
    const { graph, source } = goldenMixer();
    using plan = await GpuPlan.create(gpu, graph, source, { limits: LIMITS, kvType: "f32" });
    await check(async (batch, x) => (await plan.step(batch, { x })).logits!);
  });
}

Deno.test("H3's golden mixer comes out on the CPU", async () => {
  const { graph, source } = goldenMixer();
  using plan = await CpuPlan.create(graph, source, { limits: LIMITS, numThreads: 1 });
  await check(async (batch, x) => {
    const output = new Float32Array(x.length);
    await plan.step(batch, (index, row) => output.set(row, index * WIDTH), { x });
    return output;
  });
});

async function check(run: RunStep): Promise<void> {
  const x = Float32Array.from(goldenFill(LENGTH * WIDTH, 20, 1));
  for (const counts of SPLITS) {
    const output = new Float32Array(LENGTH * WIDTH);
    let done = 0;
    for (const count of counts) {
      const part = x.slice(done * WIDTH, (done + count) * WIDTH);
      output.set(await run(batchOf(done, count), part), done * WIDTH);
      done += count;
    }
    const actual = [...output.subarray(0, WIDTH), ...output.subarray((LENGTH - 1) * WIDTH)];
    [...FIRST_OUTPUT, ...LAST_OUTPUT].forEach((expected, i) => {
      const error = Math.abs(actual[i] - expected);
      ok(error <= TOLERANCE, `${counts} tokens: ${actual[i]} instead of ${expected}`);
    });
  }
}

function batchOf(first: number, count: number): StepBatch {
  return {
    tokenIds: new Uint32Array(count),
    positions: Uint32Array.from({ length: count }, (_, i) => first + i),
    slotMapping: new Uint32Array(count),
    queryStart: Uint32Array.of(0, count),
    contextLengths: Uint32Array.of(first + count),
    blockTables: [Uint32Array.of(0)],
    stateSlots: Uint32Array.of(0),
    samples: [],
    readLogits: true,
  };
}

function goldenMixer(): { graph: Graph; source: MemorySource } {
  const source = new MemorySource(), builder = new GraphBuilder();
  const add = (name: string, shape: readonly number[], values: ArrayLike<number>) =>
    source.add(name, shape, Float32Array.from(values));
  const fill = (name: string, shape: readonly number[], ...fills: readonly number[]) =>
    add(
      name,
      shape,
      fills.flatMap((s) => Array.from(goldenFill(shape.reduce((a, b) => a * b) / fills.length, s))),
    );
  const qkv = builder.linear(builder.input("x", WIDTH), fill("qkv", [3 * WIDTH, WIDTH], 0, 2, 4), {
    bias: fill("qkv bias", [3 * WIDTH], 1, 3, 5),
  });
  const filters = shiftFilters(goldenFill(WIDTH, 10)).flatMap((filter) => Array.from(filter));
  const w = builder.shortConvolution(
    columnsOf(qkv, WIDTH, WIDTH),
    add("filter", [STATE, WIDTH], tapsByLag(filters, WIDTH, "lag")),
    { gate: columnsOf(qkv, 2 * WIDTH, WIDTH) },
  );
  const y = builder.diagonalSsm(w, {
    poles: add("poles", [WIDTH, 2 * MODES], pairsOf("poles")),
    residues: add("residues", [WIDTH, 2 * MODES], pairsOf("residues")),
    skip: fill("skip", [WIDTH], 15),
  }, { gate: columnsOf(qkv, 0, WIDTH) });
  const output = builder.linear(y, fill("out", [WIDTH, WIDTH], 6), { bias: fill("out bias", [WIDTH], 7) });
  return { graph: builder.build(output), source };
}
