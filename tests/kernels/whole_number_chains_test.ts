// Linears in int4 and int8 one after the other, drawn: of widths of all kinds, with norms between, a value read once or twice,
// on devices that have less than this one, in steps of one row and of more by turns. What one leaves as whole numbers, and
// for whom, is decided by all of that.
import { ok } from "node:assert/strict";
import type { GpuCaps } from "../../device/caps.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import type { Value } from "../../kernels/graph.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { EVERY_CASE } from "../every_case.ts";
import { matrixUnitsTest } from "../gpus.ts";
import { type DenseProblem, problem } from "./dense_problem.ts";
import { LimitedGpu } from "./limited_gpu.ts";
import { MemorySource } from "./memory_source.ts";
import { Random, testSeed } from "./random.ts";
import { relativeError } from "./relative_error.ts";

const CHAINS = EVERY_CASE ? 12 : 1;
const TOLERANCE = 3e-4;
/** More would not fit the smallest bindings. */
const FEW_ROWS = { maxTokens: 4, maxSamples: 4 };
const KIB = 1024;
const DEVICES: readonly Partial<GpuCaps>[] = [
  {},
  { maxWorkgroupBytes: 16 * KIB },
  { maxInvocations: 256 },
  { maxWorkgroupBytes: 16 * KIB, maxInvocations: 256 },
  { maxBindingBytes: 128 * KIB },
];
/** Widths that workgroups leave as whole words, more or less. */
const INNER_WIDTHS = [240, 256, 272, 384, 512, 560, 768, 1024];

matrixUnitsTest(
  "Linears in whole numbers one after the other match the float64 reference",
  {},
  async (gpu) => {
    for (let i = 0; i < CHAINS; i++) {
      const seed = testSeed(), random = new Random(seed);
      const [device] = random.choose(DEVICES, 1), { name, chain } = drawChain(random);
      console.log(`  HYADES_TEST_SEED=${seed}: ${name}, ${JSON.stringify(device)}`);
      const { graph, source, steps } = chain, limits = { ...chain.limits, ...FEW_ROWS };
      const reference = await ReferenceExecutor.create(graph, source);
      using plan = await GpuPlan.create(new LimitedGpu(gpu, device), graph, source, {
        limits,
        kvType: "f32",
      });
      for (const { batch, inputs } of steps) {
        const expected = reference.step(batch, inputs).output, { logits } = await plan.step(batch, inputs);
        const error = relativeError(logits!, expected);
        console.log(`  ${error.toExponential(1)}  ${batch.tokenIds.length} rows`);
        ok(error <= TOLERANCE, `${name}: error ${error}`);
      }
    }
  },
);

function drawChain(random: Random): { name: string; chain: DenseProblem } {
  const source = new MemorySource(), graph = new GraphBuilder(), names: string[] = [];
  const vector = (length: number) => source.add(`vector ${names.length}`, [length], random.normals(length));
  const linear = (x: Value, width: number, residual?: Value) => {
    const [storage] = random.choose(["I4", "I8"] as const, 1),
      values = random.normals(width * x.width, 0, x.width ** -0.5);
    names.push(`${storage} ${width}x${x.width}`);
    const weight = source.add(`weight ${names.length}`, [width, x.width], values, storage);
    return graph.linear(x, weight, residual ? { residual } : { activation: "gelu_tanh" });
  };
  let x: Value = linear(graph.input("x", drawWidth(random)), drawWidth(random));
  if (random.below(2) === 1) {
    names.push("norm");
    x = graph.layerNorm(x, vector(x.width), vector(x.width), 1e-5);
  }
  const [innerWidth] = random.choose(INNER_WIDTHS, 1);
  let inner = linear(x, innerWidth);
  if (random.below(2) === 1) inner = linear(x, innerWidth, inner);
  const output = linear(inner, 1 + random.below(90));
  return { name: names.join(", "), chain: problem(random, graph, output, source, [1, 3, 1, 2, 1]) };
}

/** Any, whole words, many columns for few rows, and more than are normalised on the way. */
function drawWidth(random: Random): number {
  const widths = [
    1 + random.below(60),
    32 * (1 + random.below(20)),
    16 * (1 + random.below(40)),
    512 * (1 + random.below(5)),
    2080,
  ];
  return random.choose(widths, 1)[0];
}
