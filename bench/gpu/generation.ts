// Tokens a second and memory of models that differ in what mixes tokens, of one width and depth, by context and batch. Weights
// are random, and so is what has been kept of the contexts, which nobody computes. A case that does not fit says so, and
// the largest batch of that context that does is measured in its place.
//
//     deno run -A bench/gpu/generation.ts --families h3,multi-head --contexts 1024,8192,32768 --batches 1,64
import { parseArgs } from "node:util";
import { type GpuDevice } from "../../device/gpu_device.ts";
import { openGpu } from "../../device/open_gpu.ts";
import { weightsOf } from "../../kernels/graph_weights.ts";
import { BYTES_PER_ELEMENT } from "../../kernels/tensor_source.ts";
import { GpuRunner, pagedSizes } from "../../models/gpu_runner.ts";
import type { LongConvolutionForm } from "../../models/online_choice.ts";
import { stateBytesOf } from "../../models/step_limits.ts";
import { type DecodeEffort, timeDecodeSteps } from "./generation/decode_steps.ts";
import { FAMILIES, LONG_CONVOLUTIONS, type RandomModel, randomModel } from "./generation/families.ts";
import { type Fitting, fittingCases, type Refused, type Room } from "./generation/fitting.ts";
import { KeptBuffers } from "./generation/kept_buffers.ts";
import { appendJson } from "./json_lines.ts";

const USAGE = `Compare generation of models of one width and depth.

  deno run -A bench/gpu/generation.ts [--families ${Object.keys(FAMILIES).join(",")}]

  --families LIST  (default: all)
  --device D       dawn or webgpu (default: dawn)
  --width N        (default: 2048)
  --layers N       (default: 24)
  --contexts LIST  tokens of context (default: 1024,8192,32768)
  --batches LIST   sequences at once (default: 1,64)
  --memory GB      for what is kept of contexts (default: what an H200 has beside weights, 110)
  --warm-up MS     before each measurement (default: 400)
  --rounds N       of 16 steps each (default: 6)
  --json FILE      append the figures to FILE, one JSON line a case`;

const STEPS_PER_ROUND = 16;
/** Times what contexts take: a runner has sums that are made ahead of time besides, and states that it keeps for others. */
const ROOM_BESIDE = 2;

const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    families: { ...text, default: Object.keys(FAMILIES).join() },
    device: { ...text, default: "dawn" },
    width: { ...text, default: "2048" },
    layers: { ...text, default: "24" },
    contexts: { ...text, default: "1024,8192,32768" },
    batches: { ...text, default: "1,64" },
    memory: { ...text, default: "110" },
    "warm-up": { ...text, default: "400" },
    rounds: { ...text, default: "6" },
    json: text,
    help: { type: "boolean", short: "h" },
  },
});
const numbers = (list: string) => list.split(",").map(Number);
if (import.meta.main) {
  if (flags.help) console.log(USAGE);
  else await main();
}

async function main(): Promise<void> {
  console.log("| model | context | batch | ms a step | tokens/s | GB of contexts | GB besides |");
  console.log("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
  for (const family of flags.families.split(",")) await measureFamily(family);
}

async function measureFamily(family: string): Promise<void> {
  const sizes = {
    width: Number(flags.width),
    layers: Number(flags.layers),
    contextLength: Math.max(...numbers(flags.contexts)),
  };
  const gpu = await openGpu(flags.device as "dawn" | "webgpu", { profile: "fast" });
  if (!gpu) throw new Error(`Cannot open device "${flags.device}": no adapter was found`);
  const model = randomModel(family, sizes), room = roomOf(gpu, model), kept = new KeptBuffers(gpu);
  const cases = fittingCases(numbers(flags.contexts), numbers(flags.batches), room);
  const fitting = cases.filter((one) => "blocks" in one);
  for (const refused of cases.filter((one) => "reason" in one)) await reportRefused(family, refused);
  const began = performance.now();
  await using runner = await createRunner(gpu, model, fitting, room, LONG_CONVOLUTIONS[family]);
  kept.fill();
  const besides = kept.otherBytes, loadMs = performance.now() - began;
  console.error(`${family}: made and loaded in ${(loadMs / 1000).toFixed(1)} s`);
  if (runner.longConvolutions) console.error(`${family}: ${JSON.stringify(runner.longConvolutions)}`);
  const common = {
    family,
    ...sizes,
    ...runner.longConvolutions,
    weightBytes: weightBytesOf(model),
    otherBytes: besides,
    loadMs,
  };
  for (const one of fitting) {
    if (one.batch * one.blocks > runner.limits.numBlocks) {
      const reason = `takes ${one.batch * one.blocks} blocks, the runner has ${runner.limits.numBlocks}`;
      await reportRefused(family, { ...one, reason });
      continue;
    }
    const ms = await timeDecodeSteps(runner, one, effortOf(runner, one));
    const rate = one.batch / ms * 1000;
    const bytes = one.bytes + kept.sumBytes / runner.limits.maxSequences * one.batch;
    console.log(
      `| ${family} | ${one.context} | ${one.batch} | ${ms.toFixed(3)} | ${rate.toFixed(0)} | ` +
        `${(bytes / 1e9).toPrecision(3)} | ${(besides / 1e9).toPrecision(3)} |`,
    );
    await report({ ...common, ...one, bytes, ms, tokensPerSecond: rate, adapter: gpu.caps.adapter });
  }
}

function roomOf(gpu: GpuDevice, { network: { graph } }: RandomModel): Room {
  return {
    ...pagedSizes(gpu, graph, "f16"),
    stateBytes: stateBytesOf(graph),
    keptBytes: Number(flags.memory) * 1e9,
  };
}

/** With room for the largest of the cases, and for one sequence of full length. */
async function createRunner(
  gpu: GpuDevice,
  { network, weights }: RandomModel,
  cases: readonly Fitting[],
  { blockBytes, stateBytes, keptBytes }: Room,
  longConvolutions: LongConvolutionForm | undefined,
): Promise<GpuRunner> {
  const maxSequences = Math.max(...numbers(flags.batches));
  const blocks = Math.max(...cases.map((one) => one.batch * one.blocks), network.contextLength / 16);
  return await GpuRunner.create(gpu, network.graph, weights, {
    kvBytes: Math.min(keptBytes, ROOM_BESIDE * (blocks * blockBytes + maxSequences * stateBytes)),
    maxBatchTokens: maxSequences,
    maxSequences,
    contextLength: network.contextLength,
    suppressed: [],
    kvType: "f16",
    ...(longConvolutions && { longConvolutions }),
  });
}

/** A whole window of what is summed ahead of time, as far as it lies in the second half of the context. */
function effortOf({ longConvolutions }: GpuRunner, { blocks }: Fitting): DecodeEffort {
  const online = longConvolutions?.form === "online" ? longConvolutions.window : undefined;
  return {
    warmUpMs: Number(flags["warm-up"]),
    stepsPerRound: STEPS_PER_ROUND,
    rounds: online ? Math.floor(Math.min(online, 8 * blocks) / STEPS_PER_ROUND) : Number(flags.rounds),
    mean: online !== undefined,
  };
}

function weightBytesOf({ network: { graph }, weights }: RandomModel): number {
  return weightsOf(graph).reduce((sum, { ref, role }) => {
    if (role === "filter") return sum;
    return sum + ref.shape.reduce((a, b) => a * b, BYTES_PER_ELEMENT[weights.find(ref.name)!.dtype]);
  }, 0);
}

async function reportRefused(family: string, refused: Refused): Promise<void> {
  const { context, batch, bytes, reason } = refused;
  console.log(
    `| ${family} | ${context} | ${batch} | does not fit: ${reason} | | ${(bytes / 1e9).toPrecision(3)} | |`,
  );
  await report({ family, ...refused });
}

async function report(line: Record<string, unknown>): Promise<void> {
  await appendJson(flags.json, { kind: "generation", by: "hyades", ...line });
}
