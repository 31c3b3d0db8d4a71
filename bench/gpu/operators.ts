// Times the operators of attention, Hyena and H3 on a GPU by the length of one sequence, and checks a sample of the outputs
// in float64: attention with as many heads of keys as of queries, or one (multi-query); hyena, a long convolution between
// two gates; h3, the shift SSM gated by v and the diagonal SSM gated by q. Projections are not in it. Ends with 1 when an
// output is wrong.
//
//     deno run -A bench/gpu/operators.ts --device dawn --width 2048 --lengths 2048,8192,32768,65536
import { parseArgs } from "node:util";
import type { Profile } from "../../device/caps.ts";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { openGpu } from "../../device/open_gpu.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { BLOCK_SIZE } from "../../kernels/step.ts";
import { appendJson } from "./json_lines.ts";
import { type KernelTimes, profileStep, timeColumns, timeStep } from "./operator_times.ts";
import { attentionOperator } from "./operators/attention.ts";
import { h3Operator } from "./operators/h3.ts";
import { hyenaOperator } from "./operators/hyena.ts";
import { type Operator, randomInputs, sampleError, wholeSequence } from "./operators/operator.ts";

const OPERATORS = {
  attention: (width: number) => attentionOperator(width),
  "multi-query": (width: number) => attentionOperator(width, 1),
  hyena: hyenaOperator,
  h3: (width: number) => h3Operator(width),
};

const USAGE = `Time the operators of attention, Hyena and H3 on a GPU.

  deno run -A bench/gpu/operators.ts [--device dawn|webgpu]

  --device D       provider (default: dawn)
  --profile P      fast, safe (default: fast)
  --operators LIST ${Object.keys(OPERATORS).join(", ")} (default: all)
  --width N        channels (default: 2048)
  --lengths LIST   tokens of the sequence (default: 2048,8192,32768,65536)
  --warm-up MS     before each measurement (default: 800)
  --kernels        a row for each kind of dispatch, too, each timed in a pass of its own
  --json FILE      append the figures to FILE, one JSON line a case`;

const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    device: { ...text, default: "dawn" },
    profile: { ...text, default: "fast" },
    operators: { ...text, default: Object.keys(OPERATORS).join() },
    width: { ...text, default: "2048" },
    lengths: { ...text, default: "2048,8192,32768,65536" },
    "warm-up": { ...text, default: "800" },
    kernels: { type: "boolean", default: false },
    json: text,
    help: { type: "boolean", short: "h" },
  },
});
if (import.meta.main) {
  if (flags.help) console.log(USAGE);
  else Deno.exit(await main() ? 0 : 1);
}

async function main(): Promise<boolean> {
  using gpu = await openGpu(flags.device as "dawn" | "webgpu", { profile: flags.profile as Profile });
  if (!gpu) throw new Error(`Cannot open device "${flags.device}": no adapter was found`);
  const width = Number(flags.width);
  console.log(`${gpu.caps.adapter}, ${flags.device}, ${flags.profile}, ${width} channels, one sequence`);
  console.log("| operator | tokens | kernel | dispatches | us | GB/s | TFLOP/s | error |");
  console.log("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |");
  let right = true;
  for (const length of flags.lengths.split(",").map(Number)) {
    for (const name of flags.operators.split(",") as (keyof typeof OPERATORS)[]) {
      try {
        right = await report(gpu, name, width, length) && right;
      } catch (error) {
        // One that does not fit must not take the others with it.
        right = false;
        console.log(`| ${name} | ${length} | ${error instanceof Error ? error.message : error} | | | | | |`);
      }
    }
  }
  return right;
}

async function report(
  gpu: GpuDevice,
  name: keyof typeof OPERATORS,
  width: number,
  length: number,
): Promise<boolean> {
  const operator = OPERATORS[name](width, length);
  const { all, kernels, error } = await measure(gpu, operator, length);
  for (const times of kernels) console.log(`| ${name} | ${length} | ${timeColumns(times)} | |`);
  console.log(`| ${name} | ${length} | ${timeColumns(all)} | ${error.toExponential(1)} |`);
  const { us, bytes, flop } = all;
  await appendJson(flags.json, {
    kind: "operator",
    by: "hyades",
    operator: name,
    width,
    length,
    ms: us / 1000,
    bytes,
    flop,
    error,
    adapter: gpu.caps.adapter,
    provider: gpu.caps.provider,
  });
  return error <= operator.tolerance;
}

interface Measured {
  readonly all: KernelTimes;
  readonly kernels: readonly KernelTimes[];
  readonly error: number;
}

async function measure(gpu: GpuDevice, operator: Operator, length: number): Promise<Measured> {
  const { graph, weights } = operator, blocks = Math.ceil(length / BLOCK_SIZE);
  using plan = await GpuPlan.create(gpu, graph, weights, {
    limits: {
      maxTokens: length,
      maxSequences: 1,
      maxSamples: 1,
      maxBlocksPerSequence: blocks,
      numBlocks: blocks,
      numStateSlots: 1,
    },
    kvType: "f16",
  });
  const inputs = randomInputs(graph, length), batch = wholeSequence(length);
  const { logits } = await plan.step({ ...batch, readLogits: true }, inputs);
  const error = sampleError(operator, inputs, logits!, length), warmUpMs = Number(flags["warm-up"]);
  const all = await timeStep(plan, batch, warmUpMs);
  return { all, kernels: flags.kernels ? await profileStep(plan, batch, warmUpMs) : [], error };
}
