// From which length on it is faster to sum a long convolution online than directly: microseconds a token of what earlier
// tokens add to single ones, in one layer, by the GPU's clock. A token directly is the one at the end of the context; online
// it is the mean of a window's, squares of all sizes and the window's beginning among them. Histories are random.
//
//     deno run -A bench/gpu/online_convolution.ts --width 2048 --contexts 1024,2048,4096,8192,16384,32768
import { parseArgs } from "node:util";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { openGpu } from "../../device/open_gpu.ts";
import type { OnlineShapeWanted } from "../../kernels/convolution_history/online_sums.ts";
import type { Graph } from "../../kernels/graph.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { BLOCK_SIZE, type StepBatch } from "../../kernels/step.ts";
import { chooseOnline } from "../../models/online_choice.ts";
import { median } from "../median.ts";
import { KeptBuffers } from "./generation/kept_buffers.ts";
import { appendJson } from "./json_lines.ts";
import { randomInputs } from "./operators/operator.ts";
import { uniforms } from "./random_values.ts";
import { RandomVectors } from "./random_vectors.ts";

const USAGE = `Find the length from which online sums of a long convolution are faster than direct ones.

  deno run -A bench/gpu/online_convolution.ts [--device dawn|webgpu]

  --device D       provider (default: dawn)
  --width N        channels (default: 2048)
  --contexts LIST  tokens (default: 1024,2048,4096,8192,16384,32768)
  --batches LIST   sequences, all at one position (default: 1,64)
  --windows LIST   positions of a window; a dash: a sixteenth of the context (default: -)
  --warm-up MS     before each measurement (default: 200)
  --json FILE      append the figures to FILE, one JSON line a case`;

const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    device: { ...text, default: "dawn" },
    width: { ...text, default: "2048" },
    contexts: { ...text, default: "1024,2048,4096,8192,16384,32768" },
    batches: { ...text, default: "1,64" },
    windows: { ...text, default: "-" },
    "warm-up": { ...text, default: "200" },
    json: text,
    help: { type: "boolean", short: "h" },
  },
});
const numbers = (list: string) => list.split(",").map(Number);
if (import.meta.main) {
  if (flags.help) console.log(USAGE);
  else await main();
}

interface Case {
  readonly width: number;
  readonly context: number;
  readonly batch: number;
}

async function main(): Promise<void> {
  console.log("| context | batch | window | direct, us | online, us | of that rows | times |");
  console.log("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
  const width = Number(flags.width);
  for (const batch of numbers(flags.batches)) {
    for (const context of numbers(flags.contexts)) {
      for (const window of flags.windows.split(",")) await report({ width, context, batch }, window);
    }
  }
}

async function report(shape: Case, window: string): Promise<void> {
  const graph = operator(shape), { context, batch } = shape;
  const wanted: OnlineShapeWanted = window === "-" ? chosen(graph.graph, shape) : {
    ...chosen(graph.graph, shape),
    window: Number(window),
  };
  try {
    const directUs = await onPlan(shape, graph, undefined, (plan) => timeOf(plan, shape, context - 1));
    const { us, rowUs } = await onPlan(
      shape,
      graph,
      wanted,
      (plan) => timeOnline(plan, shape, graph, wanted),
    );
    console.log(
      `| ${context} | ${batch} | ${wanted.window} | ${directUs.toFixed(1)} | ${us.toFixed(1)} | ` +
        `${rowUs.toFixed(1)} | ${(directUs / us).toFixed(2)} |`,
    );
    await appendJson(flags.json, { kind: "online", ...shape, window: wanted.window, directUs, us, rowUs });
  } catch (error) {
    // One that does not fit must not take the others with it.
    console.log(
      `| ${context} | ${batch} | ${wanted.window} | ${error instanceof Error ? error.message : error} |`,
    );
  }
}

/** As a server chooses that has plenty of memory. */
function chosen(graph: Graph, { context, batch }: Case): OnlineShapeWanted {
  const limits = {
    contextLength: context,
    maxSequences: batch,
    kvBytes: Infinity,
    leastBytes: 0,
  } as const;
  return chooseOnline(graph, limits, "online")!;
}

interface Operator {
  readonly graph: Graph;
  readonly weights: RandomVectors;
}

function operator({ width, context }: Case): Operator {
  const weights = new RandomVectors(), builder = new GraphBuilder();
  const values = uniforms(width * context);
  const filter = weights.add("filter", [width, context], (at) => values[at]);
  return { weights, graph: builder.build(builder.convolutionHistory(builder.input("x", width), filter)) };
}

async function onPlan<T>(
  { context, batch }: Case,
  { graph, weights }: Operator,
  online: OnlineShapeWanted | undefined,
  measure: (plan: GpuPlan) => Promise<T>,
): Promise<T> {
  using gpu = await open();
  const kept = new KeptBuffers(gpu), blocks = context / BLOCK_SIZE;
  using plan = await GpuPlan.create(gpu, graph, weights, {
    limits: {
      maxTokens: Math.max(batch, 64),
      maxSequences: batch,
      maxSamples: 1,
      maxBlocksPerSequence: blocks,
      numBlocks: blocks * batch,
      numStateSlots: batch,
    },
    kvType: "f16",
    ...(online && { online }),
  });
  kept.fill();
  return await measure(plan);
}

async function open(): Promise<GpuDevice> {
  const gpu = await openGpu(flags.device as "dawn" | "webgpu", { profile: "fast" });
  if (!gpu) throw new Error(`Cannot open device "${flags.device}": no adapter was found`);
  return gpu;
}

/** Microseconds of a step of single tokens. */
async function timeOf(plan: GpuPlan, shape: Case, position: number): Promise<number> {
  const batch = batchOf(shape, position, 1);
  // What a window or a square would still have to sum is summed by the first of these.
  for (const end = performance.now() + Number(flags["warm-up"]); performance.now() < end;) {
    await plan.time(batch, 4);
  }
  const times = await Promise.all(Array.from({ length: 5 }, () => plan.time(batch, 16)));
  return median(times) / 1000;
}

/** The mean of the last whole window. */
async function timeOnline(
  plan: GpuPlan,
  shape: Case,
  { graph }: Operator,
  { window, square }: OnlineShapeWanted,
): Promise<{ us: number; rowUs: number }> {
  const first = shape.context - window, rowUs = await timeOf(plan, shape, first + 1);
  const inputs = randomInputs(graph, square - 1);
  // So that the window begins with the first of them.
  await plan.time(batchOf(shape, first - 1, 1), 1);
  let beginningsUs = 0;
  for (let position = first; position < shape.context; position += square) {
    // The row and what is summed before it; then rows up to the next square, of one sequence after the other.
    beginningsUs += await plan.time(batchOf(shape, position, 1), 1) / 1000;
    for (let s = 0; s < shape.batch; s++) {
      await plan.step(batchOf({ ...shape, batch: 1 }, position + 1, square - 1, s), inputs);
    }
  }
  const squares = window / square, rows = window - squares;
  return { us: (beginningsUs + rows * rowUs) / window, rowUs };
}

/** Rows from a position on of each sequence, or of sequence `only`. */
function batchOf({ context, batch }: Case, position: number, rows: number, only = 0): StepBatch {
  const blocks = context / BLOCK_SIZE, sequences = Array.from({ length: batch }, (_, s) => s + only);
  const all = sequences.flatMap((s) => Array.from({ length: rows }, (_, i) => ({ s, at: position + i })));
  return {
    tokenIds: new Uint32Array(all.length),
    positions: Uint32Array.from(all, ({ at }) => at),
    // A sequence's blocks lie one after the other.
    slotMapping: Uint32Array.from(all, ({ s, at }) => s * context + at),
    queryStart: Uint32Array.from({ length: batch + 1 }, (_, s) => s * rows),
    contextLengths: new Uint32Array(batch).fill(position + rows),
    blockTables: sequences.map((s) => Uint32Array.from({ length: blocks }, (_, i) => s * blocks + i)),
    stateSlots: Uint32Array.from(sequences),
    samples: [],
  };
}
