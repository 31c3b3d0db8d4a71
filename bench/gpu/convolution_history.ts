// Times a step of exact Hyena's operator after a sequence's earlier tokens: what the history adds, and the long convolution
// of the step's own rows between two gates. Checks a sample of the outputs in float64. Projections and short convolutions are
// not in it. Ends with 1 when an output is wrong.
//
//     deno run -A bench/gpu/convolution_history.ts --device dawn --width 2048 --past 1024,8192,32768 --rows 1,512
import { parseArgs } from "node:util";
import type { Profile } from "../../device/caps.ts";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { openGpu } from "../../device/open_gpu.ts";
import type { Graph } from "../../kernels/graph.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { BLOCK_SIZE, type StepBatch } from "../../kernels/step.ts";
import { type KernelTimes, profileStep, timeColumns } from "./operator_times.ts";
import { type Inputs, randomInputs } from "./operators/operator.ts";
import { uniform } from "./random_values.ts";
import { RandomVectors } from "./random_vectors.ts";

const USAGE = `Time a step of exact Hyena's operator after earlier tokens.

  deno run -A bench/gpu/convolution_history.ts [--device dawn|webgpu]

  --device D       provider (default: dawn)
  --profile P      fast, safe (default: fast)
  --width N        channels (default: 2048)
  --past LIST      earlier tokens of each sequence (default: 1024,8192,32768)
  --rows LIST      new tokens of each sequence in the step (default: 1,512)
  --sequences N    in the step (default: 1)
  --warm-up MS     before each measurement (default: 1500)`;

/** Tokens of a step that fills the history. */
const FILL_TOKENS = 2048;
/** Of the first sequence, at every row of theirs. */
const SAMPLED_CHANNELS = 8;
/** Largest error, relative to the largest output of the sample: of inputs in f16. */
const TOLERANCE = 1e-3;

const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    device: { ...text, default: "dawn" },
    profile: { ...text, default: "fast" },
    width: { ...text, default: "2048" },
    past: { ...text, default: "1024,8192,32768" },
    rows: { ...text, default: "1,512" },
    sequences: { ...text, default: "1" },
    "warm-up": { ...text, default: "1500" },
    help: { type: "boolean", short: "h" },
  },
});
interface Case {
  readonly width: number;
  readonly past: number;
  readonly rows: number;
  readonly sequences: number;
}

async function main(): Promise<boolean> {
  using gpu = await openGpu(flags.device as "dawn" | "webgpu", { profile: flags.profile as Profile });
  if (!gpu) throw new Error(`Cannot open device "${flags.device}": no adapter was found`);
  const width = Number(flags.width), sequences = Number(flags.sequences);
  console.log(
    `${gpu.caps.adapter}, ${flags.device}, ${flags.profile}, ${width} channels, ${sequences} sequences`,
  );
  console.log("| past | rows | kernel | dispatches | us | GB/s | TFLOP/s | error |");
  console.log("| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |");
  let right = true;
  for (const past of flags.past.split(",").map(Number)) {
    for (const rows of flags.rows.split(",").map(Number)) {
      const { kernels, error } = await measure(gpu, { width, past, rows, sequences });
      right &&= error <= TOLERANCE;
      for (const times of kernels) {
        const shown = times.kernel === "all" ? error.toExponential(1) : "";
        console.log(`| ${past} | ${rows} | ${timeColumns(times)} | ${shown} |`);
      }
    }
  }
  return right;
}

async function measure(gpu: GpuDevice, shape: Case): Promise<{ kernels: KernelTimes[]; error: number }> {
  const { past, rows, sequences } = shape, blocks = Math.ceil((past + rows) / BLOCK_SIZE);
  const { graph, weights } = operator(shape);
  using plan = await GpuPlan.create(gpu, graph, weights, {
    limits: {
      maxTokens: Math.max(Math.min(past, FILL_TOKENS), rows * sequences),
      maxSequences: sequences,
      maxSamples: 1,
      maxBlocksPerSequence: blocks,
      numBlocks: blocks * sequences,
    },
    kvType: "f16",
  });
  const sample = new Sample(shape, weights.values("filter"));
  for (let first = 0; first < past; first += FILL_TOKENS) {
    const count = Math.min(FILL_TOKENS, past - first), inputs = randomInputs(graph, count);
    sample.keep(inputs, count);
    await plan.step(batchOf(1, first, count, blocks), inputs);
  }
  const batch = batchOf(sequences, past, rows, blocks), inputs = randomInputs(graph, rows * sequences);
  sample.keep(inputs, rows);
  const { logits } = await plan.step({ ...batch, readLogits: true }, inputs);
  const error = sample.error(logits!, inputs.after);
  return { kernels: await profileStep(plan, batch, Number(flags["warm-up"])), error };
}

function operator({ width, past, rows }: Case): { graph: Graph; weights: RandomVectors } {
  const weights = new RandomVectors(), b = new GraphBuilder(), taps = past + rows;
  const x = b.input("x", width), before = b.input("before", width), after = b.input("after", width);
  const filter = weights.add("filter", [width, taps], (at) => uniform() * Math.exp(-5 * (at % taps) / taps));
  const carried = b.convolutionHistory(x, filter, { before });
  return { weights, graph: b.build(b.longConvolution(x, filter, { before, after, carried })) };
}

/** What went into some channels of the first sequence. */
class Sample {
  readonly #shape: Case;
  readonly #filter: Float32Array;
  readonly #signals: { readonly channel: number; readonly values: number[] }[];

  constructor(shape: Case, filter: Float32Array) {
    this.#shape = shape;
    this.#filter = filter;
    this.#signals = Array.from({ length: SAMPLED_CHANNELS }, () => ({
      channel: Math.floor(Math.random() * shape.width),
      values: [],
    }));
  }

  keep({ x, before }: Inputs, count: number): void {
    const { width } = this.#shape;
    for (const { channel, values } of this.#signals) {
      for (let at = channel; at < count * width; at += width) values.push(x[at] * before[at]);
    }
  }

  error(y: Float32Array, after: Float32Array): number {
    const { width, past, rows } = this.#shape, taps = past + rows;
    let largest = 0, worst = 0;
    for (const { channel, values } of this.#signals) {
      for (let row = 0; row < rows; row++) {
        let sum = 0;
        for (let j = 0; j <= past + row; j++) {
          sum += this.#filter[channel * taps + past + row - j] * values[j];
        }
        const at = row * width + channel, expected = sum * after[at];
        largest = Math.max(largest, Math.abs(expected));
        worst = Math.max(worst, Math.abs(expected - y[at]));
      }
    }
    return worst / largest;
  }
}

/** The next `count` tokens of each sequence after `first`. */
function batchOf(sequences: number, first: number, count: number, blocks: number): StepBatch {
  const tables = Array.from(
    { length: sequences },
    (_, s) => Uint32Array.from({ length: blocks }, (_, block) => s * blocks + block),
  );
  const rows = tables.flatMap((_, s) =>
    Array.from({ length: count }, (_, i) => ({ s, position: first + i }))
  );
  return {
    tokenIds: new Uint32Array(rows.length),
    positions: Uint32Array.from(rows, ({ position }) => position),
    // A sequence's blocks lie one after the other.
    slotMapping: Uint32Array.from(rows, ({ s, position }) => s * blocks * BLOCK_SIZE + position),
    queryStart: Uint32Array.from({ length: sequences + 1 }, (_, s) => s * count),
    contextLengths: new Uint32Array(sequences).fill(first + count),
    blockTables: tables,
    samples: [],
  };
}

if (import.meta.main) {
  if (flags.help) console.log(USAGE);
  else Deno.exit(await main() ? 0 : 1);
}
