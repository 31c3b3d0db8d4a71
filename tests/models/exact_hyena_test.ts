// Exact Hyena, whole models: the fixtures' logits and greedy tokens on both GPU providers and on the CPU, by steps that cut
// texts anywhere.
import { deepStrictEqual, ok } from "node:assert/strict";
import { CpuPlan } from "../../kernels/cpu_plan.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { hyena } from "../../models/hyena_network.ts";
import type { Network } from "../../models/network.ts";
import { EVERY_CASE } from "../every_case.ts";
import { gpuTest } from "../gpus.ts";
import { caseFolder, HYENA_CASES, openCase, relativeError } from "./long_conv_cases.ts";
import { continueGreedily, LONG_CONV_LIMITS, type RunStep, runTogether } from "./long_conv_steps.ts";
import { readExpected } from "./parity_cases.ts";

/** Relative to the largest logit. */
const TOLERANCE = 1e-5;

gpuTest(
  "Exact Hyena gives the same where sums are made online",
  { profile: "fast", drawn: true },
  async (gpu) => {
    const [name] = HYENA_CASES;
    using opened = await openCase(name);
    const { graph, tensors, vocabSize } = hyena.build(opened.config, opened.source);
    using plan = await GpuPlan.create(gpu, graph, tensors!, {
      limits: LONG_CONV_LIMITS,
      kvType: "f32",
      sampling: { suppressed: [] },
      online: { window: 32, square: 16 },
    });
    const run: RunStep = async (batch) =>
      Float64Array.from((await plan.step({ ...batch, readLogits: true })).logits!);
    await check(name, vocabSize, run, [[1], [7, 30, 1]]);
  },
);

for (const name of HYENA_CASES) {
  // The fast profile's forms are among those that the test of online sums runs.
  for (const profile of EVERY_CASE ? ["safe", "fast"] as const : ["safe"] as const) {
    gpuTest(
      `Exact Hyena gives the fixture's logits and greedy tokens, however cut: ${name} (${profile})`,
      { profile, drawn: true },
      async (gpu) => {
        using opened = await openCase(name);
        const { graph, tensors, vocabSize } = hyena.build(opened.config, opened.source);
        const options = { limits: LONG_CONV_LIMITS, kvType: "f32", sampling: { suppressed: [] } } as const;
        using plan = await GpuPlan.create(gpu, graph, tensors!, options);
        await check(name, vocabSize, async (batch) => {
          const { logits } = await plan.step({ ...batch, readLogits: true });
          return Float64Array.from(logits!);
        });
      },
    );
  }

  Deno.test(`Exact Hyena on the CPU gives the fixture's logits and greedy tokens, however cut: ${name}`, async () => {
    using opened = await openCase(name);
    const network = hyena.build(opened.config, opened.source);
    using plan = await CpuPlan.create(network.graph, network.tensors!, {
      limits: LONG_CONV_LIMITS,
      numThreads: 1,
    });
    await check(name, network.vocabSize, onCpu(plan, network));
  });
}

function onCpu(plan: CpuPlan, { vocabSize }: Network): RunStep {
  return async (batch) => {
    const logits = new Float64Array(batch.samples.length * vocabSize);
    await plan.step(batch, (index, row) => logits.set(row, index * vocabSize));
    return logits;
  };
}

async function check(
  name: (typeof HYENA_CASES)[number],
  vocabSize: number,
  run: RunStep,
  cuts: readonly (readonly number[])[] = [[100], [7, 30, 1]],
): Promise<void> {
  const { prompts, rows, logits, greedy, greedyPrompt, numTokens } = await readExpected({
    expectedDir: caseFolder(name),
  });
  for (const counts of cuts) {
    const all = await runTogether(run, vocabSize, [prompts[2], prompts[1]], counts);
    for (const [i, prompt] of [[0, 2], [1, 1]]) {
      const error = relativeError(all[i].subarray(-rows[prompt] * vocabSize), logits[prompt]);
      console.log(`  ${prompts[prompt].length} tokens in steps of ${counts}: ${error.toExponential(1)}`);
      ok(error <= TOLERANCE, `${prompts[prompt].length} tokens in steps of ${counts}: off by ${error}`);
    }
  }
  const wanted = { numWanted: greedy.length, numTokens: numTokens ?? vocabSize };
  deepStrictEqual(await continueGreedily(run, vocabSize, prompts[greedyPrompt], wanted), greedy);
}
