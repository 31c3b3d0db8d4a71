// States kept in other slots within a step's rows, on every GPU: whoever goes on from one has what the float64 reference has,
// and so have those whose rows went on, at the ends of the scan's chunks, beside and beyond them, and where inputs of earlier
// steps are among the last ones.
import { ok, rejects, throws } from "node:assert/strict";
import { CpuPlan } from "../../kernels/cpu_plan.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import type { KeptState, StateCopy, StepBatch, StepLimits } from "../../kernels/step.ts";
import { gpuTest } from "../gpus.ts";
import { Random, testSeed } from "./random.ts";
import { RECURRENT_CASES, type RecurrentProblem } from "./recurrent_cases.ts";
import { relativeError } from "./relative_error.ts";

const TOLERANCE = 1e-5;
const MIXERS = RECURRENT_CASES.filter(({ name }) => /H3 mixer.*mixed|short convolution of 33/.test(name));

/** Rows of a sequence in a step, and after how many of them its state goes to which slot. */
interface Part {
  readonly slot: number;
  readonly start: number;
  readonly count: number;
  readonly keeps?: readonly (readonly [numRows: number, slot: number])[];
}

interface Turn {
  readonly copies?: readonly StateCopy[];
  readonly parts: readonly Part[];
}

const TURNS: readonly Turn[] = [
  {
    parts: [
      { slot: 0, start: 0, count: 3 },
      { slot: 1, start: 0, count: 523, keeps: [[7, 2], [8, 10], [512, 3], [513, 4], [522, 5]] },
      { slot: 6, start: 0, count: 20, keeps: [[1, 7]] },
    ],
  },
  {
    copies: [{ from: 2, to: 0 }],
    parts: [
      { slot: 1, start: 523, count: 2, keeps: [[1, 9]] },
      { slot: 0, start: 7, count: 70, keeps: [[3, 2], [64, 8], [69, 12]] },
    ],
  },
  // The same slot again, for which nothing is copied.
  { parts: [{ slot: 9, start: 524, count: 516, keeps: [[513, 13]] }, { slot: 0, start: 77, count: 1 }] },
  {
    parts: [{ slot: 1, start: 525, count: 1 }, { slot: 3, start: 512, count: 1 }, {
      slot: 4,
      start: 513,
      count: 1,
    }],
  },
  {
    parts: [{ slot: 5, start: 522, count: 1 }, { slot: 6, start: 20, count: 1 }, {
      slot: 7,
      start: 1,
      count: 1,
    }],
  },
  {
    parts: [{ slot: 10, start: 8, count: 1 }, { slot: 2, start: 10, count: 1 }, {
      slot: 8,
      start: 71,
      count: 1,
    }],
  },
  {
    parts: [{ slot: 12, start: 76, count: 1 }, { slot: 13, start: 1037, count: 1 }, {
      slot: 9,
      start: 1040,
      count: 1,
    }],
  },
];

const LIMITS: StepLimits = {
  maxTokens: 546,
  maxSequences: 3,
  maxSamples: 1,
  maxBlocksPerSequence: 66,
  numBlocks: 1,
  numStateSlots: 14,
  maxKeptStates: 6,
};

interface Step {
  readonly batch: StepBatch;
  readonly inputs: Record<string, Float32Array<ArrayBuffer>>;
}

function stepsOf({ graph }: RecurrentProblem, random: Random): Step[] {
  return TURNS.map(({ parts, copies }) => {
    const positions = parts.flatMap(({ start, count }) => Array.from({ length: count }, (_, i) => start + i));
    const queryStart = [0];
    for (const { count } of parts) queryStart.push(queryStart.at(-1)! + count);
    const keptStates: KeptState[] = parts.flatMap(({ keeps = [] }, sequence) =>
      keeps.map(([numRows, slot]) => ({ sequence, numRows, slot }))
    );
    const batch: StepBatch = {
      tokenIds: new Uint32Array(positions.length),
      positions: Uint32Array.from(positions),
      slotMapping: new Uint32Array(positions.length),
      queryStart: Uint32Array.from(queryStart),
      contextLengths: Uint32Array.from(parts, ({ start, count }) => start + count),
      blockTables: parts.map(() => new Uint32Array(1)),
      stateSlots: Uint32Array.from(parts, ({ slot }) => slot),
      ...(copies && { stateCopies: copies }),
      ...(keptStates.length > 0 && { keptStates }),
      samples: [],
      readLogits: true,
    };
    const inputs = Object.fromEntries(
      graph.nodes.flatMap((node) =>
        node.op === "input"
          ? [[node.name, random.normals(positions.length * node.output.width)] as const]
          : []
      ),
    );
    return { batch, inputs };
  });
}

for (const profile of ["safe", "fast"] as const) {
  gpuTest(
    `States are kept within a step's rows (${profile})`,
    { profile, drawn: profile === "safe" },
    async (gpu) => {
      const seed = testSeed();
      console.log(`  HYADES_TEST_SEED=${seed}`);
      ok(MIXERS.length === 2);
      for (const { name, build } of MIXERS) {
        const random = new Random(seed), problem = build(random), steps = stepsOf(problem, random);
        const reference = await ReferenceExecutor.create(problem.graph, problem.source);
        using plan = await GpuPlan.create(gpu, problem.graph, problem.source, {
          limits: LIMITS,
          kvType: "f32",
        });
        for (const [step, { batch, inputs }] of steps.entries()) {
          const error = relativeError(
            (await plan.step(batch, inputs)).logits!,
            reference.step(batch, inputs).output,
          );
          ok(error <= TOLERANCE, `${name}, step ${step}: error ${error}`);
        }
      }
    },
  );
}

gpuTest("States to be kept that a step has no room for, or after its last row, are refused", {
  profile: "fast",
}, async (gpu) => {
  const random = new Random(testSeed()), problem = MIXERS[0].build(random);
  const [{ batch, inputs }] = stepsOf(problem, random), { keptStates } = batch;
  const options = { limits: { ...LIMITS, maxKeptStates: 5 }, kvType: "f32" } as const;
  using plan = await GpuPlan.create(gpu, problem.graph, problem.source, options);
  await rejects(plan.step(batch, inputs), /maxKeptStates must be at most 5, received 6/);
  for (const numRows of [0, 20]) {
    const wrong = { ...batch, keptStates: [...keptStates!.slice(1, 5), { sequence: 2, numRows, slot: 7 }] };
    await rejects(plan.step(wrong, inputs), /after 1 to 19 rows of sequence 2/);
  }
});

Deno.test("The CPU, whose steps leave the state after a sequence's last row alone, refuses to keep others", async () => {
  const random = new Random(testSeed()), problem = MIXERS[0].build(random);
  const [{ batch, inputs }] = stepsOf(problem, random);
  using plan = await CpuPlan.create(problem.graph, problem.source, { limits: LIMITS, numThreads: 1 });
  await rejects(plan.step(batch, () => {}, inputs), /maxKeptStates must be at most 0/);
});

Deno.test("A state that is not kept does not go unnoticed", async () => {
  const random = new Random(testSeed()), problem = MIXERS[0].build(random);
  const [first, second] = stepsOf(problem, random);
  const reference = await ReferenceExecutor.create(problem.graph, problem.source);
  const { keptStates: _, ...without } = first.batch;
  reference.step(without, first.inputs);
  throws(() => reference.step(second.batch, second.inputs), /slot 2 was never written/);
});
