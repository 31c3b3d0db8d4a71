// Times the operators of Hyena and H3 on a GPU by the length of one sequence, and checks a sample of the outputs in float64:
// hyena, a long convolution between two gates; h3, the shift SSM gated by v and the diagonal SSM gated by q. Projections
// are not in it. Ends with 1 when an output is wrong.
//
//     deno run -A bench/gpu/convolution.ts --device dawn --width 2048 --lengths 2048,8192,32768,65536
import { parseArgs } from "node:util";
import type { Profile } from "../../device/caps.ts";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { openGpu } from "../../device/open_gpu.ts";
import { type Graph, GraphBuilder } from "../../kernels/graph.ts";
import { GpuPlan } from "../../kernels/plan.ts";
import { BLOCK_SIZE, type StepBatch } from "../../kernels/step.ts";
import { profileStep, timeColumns } from "./operator_times.ts";
import { RandomVectors } from "./random_vectors.ts";

const USAGE = `Time the operators of Hyena and H3 on a GPU.

  deno run -A bench/gpu/convolution.ts [--device dawn|webgpu]

  --device D       provider (default: dawn)
  --profile P      fast, safe (default: fast)
  --operators LIST hyena, h3 (default: hyena,h3)
  --width N        channels (default: 2048)
  --lengths LIST   tokens of the sequence (default: 2048,8192,32768,65536)
  --warm-up MS     before each measurement (default: 1500)`;

const SAMPLES = 200;
/** Largest error, relative to the largest output of the sample. */
const TOLERANCE = 3e-5;
/** Lags of H3's shift SSM, modes of its diagonal one. */
const SHIFT_TAPS = 64, MODES = 32;

const OPERATORS = { hyena: hyenaOperator, h3: h3Operator };

/** A graph of inputs by name, and the output that one channel must have at token `t`. */
interface Operator {
  readonly graph: Graph;
  readonly weights: RandomVectors;
  expected(inputs: Inputs, channel: number, t: number): number;
}

type Inputs = Readonly<Record<string, Float32Array<ArrayBuffer>>>;

const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    device: { ...text, default: "dawn" },
    profile: { ...text, default: "fast" },
    operators: { ...text, default: "hyena,h3" },
    width: { ...text, default: "2048" },
    lengths: { ...text, default: "2048,8192,32768,65536" },
    "warm-up": { ...text, default: "1500" },
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
  for (const name of flags.operators.split(",") as (keyof typeof OPERATORS)[]) {
    for (const length of flags.lengths.split(",").map(Number)) {
      const { kernels, error } = await measure(gpu, OPERATORS[name](width, length), length);
      right &&= error <= TOLERANCE;
      for (const times of kernels) {
        const shown = times.kernel === "all" ? error.toExponential(1) : "";
        console.log(`| ${name} | ${length} | ${timeColumns(times)} | ${shown} |`);
      }
    }
  }
  return right;
}

async function measure(gpu: GpuDevice, operator: Operator, length: number) {
  const { graph, weights } = operator, blocks = Math.ceil(length / BLOCK_SIZE);
  const limits = {
    maxTokens: length,
    maxSequences: 1,
    maxSamples: 1,
    maxBlocksPerSequence: blocks,
    numBlocks: 1,
    numStateSlots: 1,
  };
  using plan = await GpuPlan.create(gpu, graph, weights, { limits, kvType: "f16" });
  const inputs: Inputs = Object.fromEntries(
    graph.nodes.flatMap((node) =>
      node.op === "input" ? [[node.name, uniforms(length * node.output.width)] as const] : []
    ),
  );
  const batch = batchOf(length);
  const { logits } = await plan.step({ ...batch, readLogits: true }, inputs);
  const error = sampleError(operator, inputs, logits!, length);
  return { kernels: await profileStep(plan, batch, Number(flags["warm-up"])), error };
}

function hyenaOperator(width: number, taps: number): Operator {
  const weights = new RandomVectors(), builder = new GraphBuilder();
  const x = builder.input("x", width),
    before = builder.input("before", width),
    after = builder.input("after", width);
  const filter = weights.add("filter", [width, taps], (at) => uniform() * Math.exp(-5 * (at % taps) / taps));
  const graph = builder.build(builder.longConvolution(x, filter, { before, after }));
  const h = weights.values("filter");
  return {
    graph,
    weights,
    expected: (inputs, channel, t) => {
      let y = 0;
      for (let j = 0; j <= t; j++) {
        const at = j * width + channel;
        y += h[channel * taps + t - j] * inputs.x[at] * inputs.before[at];
      }
      return y * inputs.after[t * width + channel];
    },
  };
}

function h3Operator(width: number): Operator {
  const weights = new RandomVectors(), builder = new GraphBuilder();
  const k = builder.input("k", width), v = builder.input("v", width), q = builder.input("q", width);
  const filter = weights.add("filter", [SHIFT_TAPS, width], () => uniform() / 8);
  // Poles that forget within some 10 to 1000 tokens.
  const size = () => Math.exp(-1 / (10 * 100 ** Math.random()));
  let length = 0, angle = 0;
  const poles = weights.add("poles", [width, 2 * MODES], (at) => {
    if (at % 2 === 1) return length * Math.sin(angle);
    [length, angle] = [size(), 2 * Math.PI * Math.random()];
    return length * Math.cos(angle);
  });
  const residues = weights.add("residues", [width, 2 * MODES], () => uniform() / Math.sqrt(MODES));
  const skip = weights.add("skip", [width], uniform);
  const w = builder.shortConvolution(k, filter, { gate: v });
  const graph = builder.build(builder.diagonalSsm(w, { poles, residues, skip }, { gate: q }));
  const shifted = (inputs: Inputs, channel: number, t: number) => {
    let sum = 0;
    for (let i = 0; i < SHIFT_TAPS && i <= t; i++) {
      sum += weights.values("filter")[i * width + channel] * inputs.k[(t - i) * width + channel];
    }
    return sum * inputs.v[t * width + channel];
  };
  return {
    graph,
    weights,
    expected: (inputs, channel, t) => {
      const pole = weights.values("poles").subarray(2 * MODES * channel, 2 * MODES * (channel + 1));
      const residue = weights.values("residues").subarray(2 * MODES * channel, 2 * MODES * (channel + 1));
      const state = new Float64Array(2 * MODES);
      let last = 0;
      for (let j = 0; j <= t; j++) {
        last = shifted(inputs, channel, j);
        for (let re = 0, im = 1; re < 2 * MODES; re += 2, im += 2) {
          const next = pole[re] * state[re] - pole[im] * state[im] + last;
          state[im] = pole[re] * state[im] + pole[im] * state[re];
          state[re] = next;
        }
      }
      let y = weights.values("skip")[channel] * last;
      for (let re = 0; re < 2 * MODES; re += 2) {
        y += residue[re] * state[re] - residue[re + 1] * state[re + 1];
      }
      return y * inputs.q[t * width + channel];
    },
  };
}

function sampleError(operator: Operator, inputs: Inputs, y: Float32Array, length: number): number {
  const { width } = operator.graph.output;
  let largest = 0, worst = 0;
  for (let i = 0; i < SAMPLES; i++) {
    const channel = Math.floor(Math.random() * width), t = Math.floor(Math.random() * length);
    const expected = operator.expected(inputs, channel, t);
    largest = Math.max(largest, Math.abs(expected));
    worst = Math.max(worst, Math.abs(expected - y[t * width + channel]));
  }
  return worst / largest;
}

function batchOf(length: number): StepBatch {
  return {
    tokenIds: new Uint32Array(length),
    positions: Uint32Array.from({ length }, (_, i) => i),
    slotMapping: new Uint32Array(length),
    queryStart: Uint32Array.of(0, length),
    contextLengths: Uint32Array.of(length),
    blockTables: [new Uint32Array(1)],
    stateSlots: Uint32Array.of(0),
    samples: [],
  };
}

/** Between -1 and 1. */
function uniform(): number {
  return 2 * Math.random() - 1;
}

function uniforms(length: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(length);
  for (let i = 0; i < length; i++) values[i] = uniform();
  return values;
}
