// Columns turned by position, on every backend, against the float64 reference; and what that is for: scores of two turned
// heads follow from how far apart they are alone.
import { ok, throws } from "node:assert/strict";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { CpuPlan } from "../../kernels/cpu_plan.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { rotaryReference } from "../../kernels/rotary/reference.ts";
import { gpuTest } from "../gpus.ts";
import { MemorySource } from "./memory_source.ts";
import { Random, testSeed } from "./random.ts";
import { relativeError } from "./relative_error.ts";
import { scheduleSteps } from "./scheduled_steps.ts";

const SCHEDULE = [[70, 1, 2, 17], [1, 0, 33, 1], [3, 64, 1, 16]];
/** One product and one sum in f32. */
const TOLERANCE = 5e-7;

interface Shape {
  readonly width: number;
  readonly numHeads: number;
  readonly headSize: number;
  readonly turned: number;
}

const SHAPES: readonly Shape[] = [
  { width: 2, numHeads: 1, headSize: 2, turned: 2 },
  { width: 96, numHeads: 2, headSize: 32, turned: 32 },
  { width: 99, numHeads: 6, headSize: 11, turned: 4 },
  { width: 515, numHeads: 5, headSize: 80, turned: 64 },
];

function build({ width, numHeads, headSize, turned }: Shape, random: Random) {
  const source = new MemorySource(), builder = new GraphBuilder();
  const turns = source.add("turns", [80, turned], random.normals(80 * turned));
  const graph = builder.build(builder.rotary(builder.input("x", width), turns, { numHeads, headSize }));
  return { graph, source, ...scheduleSteps(graph, SCHEDULE, random) };
}

type Problem = ReturnType<typeof build>;
type Run = (problem: Problem) => Promise<Float32Array[]>;

async function check(run: Run): Promise<void> {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  for (const shape of SHAPES) {
    const problem = build(shape, new Random(seed));
    const reference = await ReferenceExecutor.create(problem.graph, problem.source);
    const actual = await run(problem);
    problem.steps.forEach(({ batch, inputs }, step) => {
      const error = relativeError(actual[step], reference.step(batch, inputs).output);
      ok(error <= TOLERANCE, `width ${shape.width}, step ${step}: error ${error}`);
    });
  }
}

function onGpu(gpu: GpuDevice): Run {
  return async ({ graph, source, limits, steps }) => {
    using plan = await GpuPlan.create(gpu, graph, source, { limits, kvType: "f32" });
    const outputs: Float32Array[] = [];
    for (const { batch, inputs } of steps) {
      outputs.push((await plan.step({ ...batch, readLogits: true }, inputs)).logits!);
    }
    return outputs;
  };
}

for (const profile of ["safe", "fast"] as const) {
  gpuTest(`Rotary matches the float64 reference (${profile})`, { profile }, (gpu) => check(onGpu(gpu)));
}

Deno.test("Rotary on the CPU matches the float64 reference", async () => {
  await check(async ({ graph, source, limits, steps }) => {
    using plan = await CpuPlan.create(graph, source, { limits, numThreads: 2 });
    const outputs: Float32Array[] = [];
    for (const { batch, inputs } of steps) {
      const rows = new Float32Array(batch.tokenIds.length * graph.output.width);
      await plan.step(batch, (index, row) => rows.set(row, index * row.length), inputs);
      outputs.push(rows);
    }
    return outputs;
  });
});

Deno.test("The product of two turned heads follows from the distance of their positions", () => {
  const headSize = 8, shape = { width: headSize, numHeads: 1, headSize, turned: headSize };
  const turns = new Float32Array(100 * headSize);
  for (let position = 0; position < 100; position++) {
    for (let j = 0; j < headSize / 2; j++) {
      const angle = position * 100 ** (-2 * j / headSize);
      turns.set([Math.cos(angle), Math.sin(angle)], position * headSize + 2 * j);
    }
  }
  const random = new Random(testSeed());
  const [q, k] = [random.normals(headSize), random.normals(headSize)].map((row) => Float64Array.from(row));
  const product = (a: number, b: number) => {
    const [x, y] = [rotaryReference(q, turns, [a], shape), rotaryReference(k, turns, [b], shape)];
    return x.reduce((sum, value, i) => sum + value * y[i], 0);
  };
  ok(Math.abs(product(5, 2) - product(93, 90)) < 1e-5);
  ok(Math.abs(product(5, 2) - product(5, 5)) > 1e-3);
});

Deno.test("GraphBuilder.rotary() refuses columns that heads do not have", () => {
  const source = new MemorySource(), builder = new GraphBuilder();
  const x = builder.input("x", 96), turns = source.add("turns", [4, 40], new Float32Array(160));
  throws(() => builder.rotary(x, turns, { numHeads: 3, headSize: 32 }), /40 columns of 3 heads of 32/);
  throws(
    () => builder.rotary(x, turns, { numHeads: 2, headSize: 64 }),
    /2 heads of 64 cannot be turned in width 96/,
  );
});
