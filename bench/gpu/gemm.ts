// Times single matrix products on a GPU, y = x · weightᵀ with a bias and GELU, in the form that each profile takes for
// the shape, and checks a sample of the outputs in float64. Ends with 1 when one of them is wrong.
//
//     deno run -A bench/gpu/gemm.ts --device dawn --shapes 2048x8192x2048 --types f16,i8 --profiles fast,safe
import { parseArgs } from "node:util";
import type { Profile } from "../../device/caps.ts";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { openGpu } from "../../device/open_gpu.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { BLOCK_SIZE, type StepBatch } from "../../kernels/step.ts";
import type { StepProfile } from "../../kernels/step_profile.ts";
import { median } from "../median.ts";
import { appendJson } from "./json_lines.ts";
import { RandomWeight, type WeightShape, type WeightType } from "./random_weight.ts";

const USAGE = `Time single matrix products on a GPU.

  deno run -A bench/gpu/gemm.ts [--device dawn|webgpu]

  --device D       provider (default: dawn)
  --shapes LIST    rows x outputs x inputs (default: 2048x8192x2048)
  --types LIST     storage of the weight: f16, i8 (default: f16,i8)
  --profiles LIST  fast, safe (default: fast,safe)
  --json FILE      append the figures to FILE, a line each`;

/** A GPU that idles, if only between two dispatches, lowers its clock: so several profiles are in flight at once. */
const IN_FLIGHT = 8;
const WARM_UP_MS = 1500;
const ROUNDS = 4;
const SAMPLES = 1000;
/** Largest error, relative to the largest output: x is made of numbers that f16 holds, sums are f32. */
const TOLERANCE = 3e-5;

interface Shape extends WeightShape {
  readonly rows: number;
}

const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    device: { ...text, default: "dawn" },
    shapes: { ...text, default: "2048x8192x2048" },
    types: { ...text, default: "f16,i8" },
    profiles: { ...text, default: "fast,safe" },
    json: text,
    help: { type: "boolean", short: "h" },
  },
});
if (import.meta.main) {
  if (flags.help) console.log(USAGE);
  else Deno.exit(await main() ? 0 : 1);
}

async function main(): Promise<boolean> {
  let right = true;
  console.log("| profile | rows x outputs x inputs | weight | kernel | us | TFLOP/s | error |");
  console.log("| --- | --- | --- | --- | ---: | ---: | ---: |");
  for (const profile of flags.profiles.split(",") as Profile[]) {
    using gpu = await openGpu(flags.device as "dawn" | "webgpu", { profile });
    if (!gpu) throw new Error(`Cannot open device "${flags.device}": no adapter was found`);
    for (const name of flags.shapes.split(",")) {
      const [rows, outputs, inputs] = name.split("x").map(Number);
      for (const type of flags.types.split(",") as WeightType[]) {
        const { times, error } = await measureProduct(gpu, { rows, outputs, inputs }, type);
        right &&= error <= TOLERANCE;
        for (const [kernel, us] of times) {
          const teraflops = !kernel.includes("matrix") && times.length > 1
            ? undefined
            : 2 * rows * outputs * inputs / us / 1e6;
          console.log(
            `| ${profile} | ${name} | ${type} | ${kernel} | ${us.toFixed(1)} | ${
              teraflops?.toFixed(1) ?? ""
            } | ${error.toExponential(1)} |`,
          );
          await appendJson(flags.json, { profile, shape: name, type, kernel, us, teraflops, error });
        }
      }
    }
  }
  return right;
}

/** Microseconds by kernel, and the largest relative error of a sample. */
async function measureProduct(gpu: GpuDevice, shape: Shape, type: WeightType) {
  const { rows, outputs, inputs } = shape;
  const builder = new GraphBuilder();
  const source = new RandomWeight(shape, type);
  const graph = builder.build(
    builder.linear(builder.input("x", inputs), { name: "w", shape: [outputs, inputs] }, {
      bias: { name: "b", shape: [outputs] },
      activation: "gelu_tanh",
    }),
  );
  const blocks = Math.ceil(rows / BLOCK_SIZE);
  const limits = {
    maxTokens: rows,
    maxSequences: 1,
    maxSamples: rows,
    maxBlocksPerSequence: blocks,
    numBlocks: blocks,
  };
  using plan = await GpuPlan.create(gpu, graph, source, { limits, kvType: "f16" });
  const x = Float32Array.from({ length: rows * inputs }, () => Math.f16round(2 * Math.random() - 1));
  const { logits } = await plan.step(batchOf(rows), { x });
  const error = sampleError(logits!, x, source, shape);
  const batch = { ...batchOf(rows), readLogits: false };
  const round = () => Promise.all(Array.from({ length: IN_FLIGHT }, () => plan.profile(batch)));
  for (const end = performance.now() + WARM_UP_MS; performance.now() < end;) await round();
  const profiles: StepProfile[] = [];
  for (let i = 0; i < ROUNDS; i++) profiles.push(...await round());
  const times = profiles[0].dispatches.map(({ label }, i) =>
    [
      label.replace(/^linear (w, )?/, ""),
      median(profiles.map(({ dispatches }) => (dispatches[i].end - dispatches[i].begin) / 1000)),
    ] as const
  );
  return { times, error };
}

function batchOf(rows: number): StepBatch {
  return {
    tokenIds: new Uint32Array(rows),
    positions: Uint32Array.from({ length: rows }, (_, i) => i),
    slotMapping: Uint32Array.from({ length: rows }, (_, i) => i),
    queryStart: Uint32Array.of(0, rows),
    contextLengths: Uint32Array.of(rows),
    blockTables: [Uint32Array.from({ length: Math.ceil(rows / BLOCK_SIZE) }, (_, i) => i)],
    samples: [],
    readLogits: true,
  };
}

function sampleError(y: Float32Array, x: Float32Array, source: RandomWeight, shape: Shape): number {
  const { rows, outputs, inputs } = shape;
  let largest = 0, worst = 0;
  for (let i = 0; i < SAMPLES; i++) {
    const row = Math.floor(Math.random() * rows), column = Math.floor(Math.random() * outputs);
    let sum = 0;
    for (let k = 0; k < inputs; k++) sum += x[row * inputs + k] * source.weight[column * inputs + k];
    const z = sum * source.scales[column] + source.bias[column];
    const expected = 0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)));
    largest = Math.max(largest, Math.abs(expected));
    worst = Math.max(worst, Math.abs(expected - y[row * outputs + column]));
  }
  return worst / largest;
}
