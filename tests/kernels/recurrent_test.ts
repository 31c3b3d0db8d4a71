// Short convolutions and diagonal SSMs, alone and in the mixers that they make, on every GPU, in both profiles, against the
// float64 reference.
import { deepStrictEqual, ok, rejects } from "node:assert/strict";
import type { GpuDevice } from "../../device/gpu_device.ts";
import type { Node } from "../../kernels/graph.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { gpuTest } from "../gpus.ts";
import { Random, testSeed } from "./random.ts";
import { RECURRENT_CASES, type RecurrentProblem } from "./recurrent_cases.ts";
import { relativeError } from "./relative_error.ts";
import { joined, type Scheduled, scheduleSteps } from "./scheduled_steps.ts";

for (const profile of ["safe", "fast"] as const) {
  gpuTest(`Recurrent kernels match the float64 reference (${profile})`, {
    profile,
    drawn: profile === "safe",
  }, async (gpu) => {
    const seed = testSeed();
    console.log(`  HYADES_TEST_SEED=${seed}`);
    for (const { name, tolerance, build } of RECURRENT_CASES) {
      const problem = build(new Random(seed));
      const expected = await referenceOutputs(problem);
      const actual = await gpuOutputs(gpu, problem);
      const error = relativeError(joined(actual), joined(expected));
      console.log(`  ${error.toExponential(1)}  ${name}`);
      ok(error <= tolerance, `${name}: error ${error}`);
    }
  });
}

/** Sequence 0 at once and sequence 1, the same, in chunks and elsewhere in the batch. */
const INVARIANT_SCHEDULE = [[0, 9, 30], [90, 1, 3], [0, 33, 1], [0, 47, 20]];

gpuTest(
  "Recurrent kernels give a prompt the same bits at once, in chunks and anywhere in a batch (safe)",
  {},
  async (gpu) => {
    for (const name of ["short convolution of 70", "diagonal SSM of 9 "]) {
      const { build } = RECURRENT_CASES.find((c) => c.name.startsWith(name))!;
      const { graph, source } = build(new Random(testSeed()));
      const random = new Random(testSeed());
      const problem = { graph, source, ...sameSequences(graph, random) };
      const outputs = await gpuOutputs(gpu, problem);
      deepStrictEqual(outputOf(1, outputs, problem), outputOf(0, outputs, problem), name);
    }
  },
);

function sameSequences(graph: RecurrentProblem["graph"], random: Random): Scheduled {
  const scheduled = scheduleSteps(graph, INVARIANT_SCHEDULE, random);
  for (const node of graph.nodes) {
    if (node.op !== "input") continue;
    const { width } = node.output, rows = random.normals(90 * width);
    scheduled.steps.forEach(({ inputs }, step) => {
      for (const sequence of [0, 1]) {
        const { first, count, done } = rangeOf(sequence, step);
        inputs[node.name].set(rows.subarray(done * width, (done + count) * width), first * width);
      }
    });
  }
  return scheduled;
}

/** Rows of a sequence of INVARIANT_SCHEDULE in a step, and how many it had before. */
function rangeOf(sequence: number, step: number) {
  const sum = (counts: readonly number[]) => counts.reduce((a, b) => a + b, 0);
  return {
    first: sum(INVARIANT_SCHEDULE[step].slice(0, sequence)),
    count: INVARIANT_SCHEDULE[step][sequence],
    done: sum(INVARIANT_SCHEDULE.slice(0, step).map((counts) => counts[sequence])),
  };
}

function outputOf(
  sequence: number,
  outputs: readonly Float32Array[],
  { graph }: RecurrentProblem,
): Float32Array {
  const { width } = graph.output;
  return Float32Array.from(outputs.flatMap((output, step) => {
    const { first, count } = rangeOf(sequence, step);
    return Array.from(output.subarray(first * width, (first + count) * width));
  }));
}

gpuTest(
  "Recurrent kernels stay true over 5000 tokens, one by one and in chunks",
  { profile: "fast" },
  async (gpu) => {
    const { build } = RECURRENT_CASES.find(({ name }) => name.startsWith("diagonal SSM of 9 "))!;
    const { graph, source } = build(new Random(testSeed()));
    const schedule = [[4000], ...Array.from({ length: 30 }, () => [1]), [970]];
    const problem = { graph, source, ...scheduleSteps(graph, schedule, new Random(testSeed())) };
    const expected = await referenceOutputs(problem), actual = await gpuOutputs(gpu, problem);
    const error = relativeError(actual.at(-1)!, expected.at(-1)!);
    console.log(`  ${error.toExponential(1)} in the last chunk`);
    ok(error <= 1e-5, `error ${error}`);
  },
);

gpuTest("GpuPlan.step() refuses a batch without state slots for a recurrent graph", {}, async (gpu) => {
  const { graph, source, limits, steps } = RECURRENT_CASES[0].build(new Random(1));
  using plan = await GpuPlan.create(gpu, graph, source, { limits, kvType: "f32" });
  const { stateSlots: _, ...batch } = steps[0].batch;
  await rejects(plan.step(batch, steps[0].inputs), /every sequence needs a state slot/);
});

gpuTest("GpuPlan.create() refuses a recurrent graph without room for states", {}, async (gpu) => {
  const { graph, source, limits } = RECURRENT_CASES[0].build(new Random(1));
  const { numStateSlots: _, ...without } = limits;
  await rejects(GpuPlan.create(gpu, graph, source, { limits: without, kvType: "f32" }), /numStateSlots/);
});

const MISTAKES: readonly [string, string, (node: Node) => Node][] = [
  ["short convolution of 96", "a missing bias", (node) => {
    if (node.op !== "shortConvolution") return node;
    const { bias: _, ...rest } = node;
    return rest;
  }],
  [
    "diagonal SSM of 9 ",
    "poles and residues exchanged",
    (node) => node.op === "diagonalSsm" ? { ...node, poles: node.residues, residues: node.poles } : node,
  ],
  ["diagonal SSM of 9 ", "a missing gate", (node) => {
    if (node.op !== "diagonalSsm") return node;
    const { gate: _, ...rest } = node;
    return rest;
  }],
];

Deno.test("The recurrent table's comparison notices a wrong kernel", async () => {
  for (const [name, mistake, change] of MISTAKES) {
    const { build, tolerance } = RECURRENT_CASES.find((c) => c.name.startsWith(name))!;
    const problem = build(new Random(testSeed()));
    const expected = await referenceOutputs(problem);
    const nodes = problem.graph.nodes.map(change);
    const wrong = await referenceOutputs({ ...problem, graph: { ...problem.graph, nodes } });
    const error = relativeError(joined(wrong), joined(expected));
    ok(!(error <= tolerance), `${mistake} went unnoticed`);
  }
});

async function referenceOutputs({ graph, source, steps }: RecurrentProblem): Promise<Float64Array[]> {
  const reference = await ReferenceExecutor.create(graph, source);
  return steps.map(({ batch, inputs }) => reference.step(batch, inputs).output);
}

async function gpuOutputs(gpu: GpuDevice, problem: RecurrentProblem): Promise<Float32Array[]> {
  const { graph, source, limits, steps } = problem;
  using plan = await GpuPlan.create(gpu, graph, source, { limits, kvType: "f32" });
  const outputs: Float32Array[] = [];
  for (const { batch, inputs } of steps) outputs.push((await plan.step(batch, inputs)).logits!);
  return outputs;
}
