// Copies of recurrent states from slot to slot, on every backend: a sequence goes on from a snapshot of itself as if what
// came since had never been, and two that begin alike share what they have in common, against the float64 reference.
import { ok, throws } from "node:assert/strict";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { CpuPlan } from "../../kernels/cpu_plan.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import type { StateCopy, StepBatch } from "../../kernels/step.ts";
import { gpuTest } from "../gpus.ts";
import { Random, testSeed } from "./random.ts";
import { RECURRENT_CASES, type RecurrentProblem } from "./recurrent_cases.ts";
import { relativeError } from "./relative_error.ts";

const TOLERANCE = 1e-5;
const MIXERS = RECURRENT_CASES.filter(({ name }) =>
  /mixer|diagonal SSM of 9 |short convolution of 70/i.test(name)
);
const SLOTS = 4;

/** Rows of one sequence in slots of state, some copies before them. */
interface Turn {
  readonly slot: number;
  readonly start: number;
  readonly count: number;
  readonly stateCopies?: readonly StateCopy[];
}

const TURNS: readonly Turn[] = [
  { slot: 0, start: 0, count: 70 },
  // A snapshot, then rows that are given up, and others in their place.
  { slot: 0, start: 70, count: 5, stateCopies: [{ from: 0, to: 3 }] },
  { slot: 0, start: 75, count: 1 },
  { slot: 0, start: 70, count: 1, stateCopies: [{ from: 3, to: 0 }] },
  // Two more that go on from the snapshot, by way of each other.
  { slot: 2, start: 70, count: 65, stateCopies: [{ from: 3, to: 1 }, { from: 1, to: 2 }] },
  { slot: 1, start: 70, count: 1 },
  { slot: 2, start: 135, count: 1 },
  { slot: 0, start: 71, count: 3 },
];

type Step = { batch: StepBatch; inputs: Record<string, Float32Array<ArrayBuffer>> };

function stepsOf({ graph }: RecurrentProblem, random: Random): Step[] {
  return TURNS.map(({ slot, start, count, stateCopies }) => {
    const positions = Uint32Array.from({ length: count }, (_, i) => start + i);
    const batch: StepBatch = {
      tokenIds: new Uint32Array(count),
      positions,
      slotMapping: new Uint32Array(count),
      queryStart: Uint32Array.of(0, count),
      contextLengths: Uint32Array.of(start + count),
      blockTables: [new Uint32Array(9)],
      stateSlots: Uint32Array.of(slot),
      ...(stateCopies && { stateCopies }),
      samples: [],
      readLogits: true,
    };
    const inputs = Object.fromEntries(
      graph.nodes.flatMap((node) =>
        node.op === "input" ? [[node.name, random.normals(count * node.output.width)] as const] : []
      ),
    );
    return { batch, inputs };
  });
}

const LIMITS = {
  maxTokens: 70,
  maxSequences: 1,
  maxSamples: 1,
  maxBlocksPerSequence: 9,
  numBlocks: 1,
  numStateSlots: SLOTS,
};

async function check(run: (problem: RecurrentProblem, steps: readonly Step[]) => Promise<Float32Array[]>) {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  ok(MIXERS.length >= 3);
  for (const { name, build } of MIXERS) {
    const random = new Random(seed), problem = build(random), steps = stepsOf(problem, random);
    const reference = await ReferenceExecutor.create(problem.graph, problem.source);
    const actual = await run(problem, steps);
    steps.forEach(({ batch, inputs }, step) => {
      const error = relativeError(actual[step], reference.step(batch, inputs).output);
      ok(error <= TOLERANCE, `${name}, step ${step}: error ${error}`);
    });
  }
}

function onGpu(gpu: GpuDevice) {
  return async ({ graph, source }: RecurrentProblem, steps: readonly Step[]) => {
    using plan = await GpuPlan.create(gpu, graph, source, { limits: LIMITS, kvType: "f32" });
    const outputs: Float32Array[] = [];
    for (const { batch, inputs } of steps) outputs.push((await plan.step(batch, inputs)).logits!);
    return outputs;
  };
}

for (const profile of ["safe", "fast"] as const) {
  gpuTest(`States go on from copies (${profile})`, { profile }, (gpu) => check(onGpu(gpu)));
}

Deno.test("States go on from copies on the CPU", async () => {
  await check(async ({ graph, source }, steps) => {
    using plan = await CpuPlan.create(graph, source, { limits: LIMITS, numThreads: 2 });
    const outputs: Float32Array[] = [];
    for (const { batch, inputs } of steps) {
      const rows = new Float32Array(batch.tokenIds.length * graph.output.width);
      await plan.step(batch, (index, row) => rows.set(row, index * row.length), inputs);
      outputs.push(rows);
    }
    return outputs;
  });
});

Deno.test("A copy that is left out does not go unnoticed, nor one of nothing", async () => {
  const random = new Random(testSeed()), problem = MIXERS[0].build(random), steps = stepsOf(problem, random);
  const [right, wrong] = await Promise.all(
    [0, 1].map(() => ReferenceExecutor.create(problem.graph, problem.source)),
  );
  const expected = steps.map(({ batch, inputs }) => right.step(batch, inputs).output);
  const { stateCopies: _, ...without } = steps[3].batch;
  const given = steps.slice(0, 3).map(({ batch, inputs }) => wrong.step(batch, inputs).output);
  given.push(wrong.step(without, steps[3].inputs).output);
  ok(relativeError(given[3], expected[3]) > 1e3 * TOLERANCE);
  const nothing = { ...steps[0].batch, stateCopies: [{ from: 2, to: 1 }] };
  const fresh = await ReferenceExecutor.create(problem.graph, problem.source);
  throws(() => fresh.step(nothing, steps[0].inputs), /slot 2 was never written/);
});
