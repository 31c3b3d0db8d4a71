// What it costs to keep a prompt's recurrent states every so many tokens: milliseconds of a prompt by the GPU's clock, read in
// one step that keeps none, in one that keeps them within its rows, and cut in steps that end where one is kept. Weights and
// tokens are random.
//
//     deno run -A bench/gpu/kept_states.ts --families h3,hyena-modal --prompts 512,1024,2048
import { parseArgs } from "node:util";
import { openGpu } from "../../device/open_gpu.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { BLOCK_SIZE, type KeptState, type StepBatch } from "../../kernels/step.ts";
import { median } from "../median.ts";
import { type RandomModel, randomModel } from "./generation/families.ts";
import { appendJson } from "./json_lines.ts";

const USAGE = `Compare prompts whose recurrent states are kept within a step with prompts that are cut for it.

  deno run -A bench/gpu/kept_states.ts [--families h3,hyena-modal]

  --families LIST  as of generation.ts, with recurrent layers (default: h3,hyena-modal)
  --device D       dawn or webgpu (default: dawn)
  --width N        (default: 2048)
  --layers N       (default: 24)
  --prompts LIST   tokens (default: 512,1024,2048)
  --every N        tokens after which a state is kept (default: 256)
  --warm-up MS     before each measurement (default: 200)
  --json FILE      append the figures to FILE, one JSON line a prompt`;

const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    families: { ...text, default: "h3,hyena-modal" },
    device: { ...text, default: "dawn" },
    width: { ...text, default: "2048" },
    layers: { ...text, default: "24" },
    prompts: { ...text, default: "512,1024,2048" },
    every: { ...text, default: "256" },
    "warm-up": { ...text, default: "200" },
    json: text,
    help: { type: "boolean", short: "h" },
  },
});
if (import.meta.main) {
  if (flags.help) console.log(USAGE);
  else await main();
}

async function main(): Promise<void> {
  console.log("| model | prompt | whole, ms | states kept, ms | cut, ms | steps |");
  console.log("| --- | ---: | ---: | ---: | ---: | ---: |");
  const prompts = flags.prompts.split(",").map(Number), every = Number(flags.every);
  const sizes = {
    width: Number(flags.width),
    layers: Number(flags.layers),
    contextLength: Math.max(...prompts),
  };
  for (const family of flags.families.split(",")) {
    const model = randomModel(family, sizes);
    const plain = await timesOf(model, 0, prompts, (length) => [promptRows(0, length)]);
    const cut = await timesOf(
      model,
      0,
      prompts,
      (length) =>
        marksWithin(length, every).map((start) => promptRows(start, Math.min(length, start + every))),
    );
    const kept = await timesOf(model, Math.ceil(sizes.contextLength / every), prompts, (length) => {
      const marks = marksWithin(length, every).slice(1);
      return [promptRows(0, length, marks.map((numRows, i) => ({ sequence: 0, numRows, slot: 1 + i })))];
    });
    for (const [i, prompt] of prompts.entries()) {
      const steps = Math.ceil(prompt / every);
      const [whole, within, inSteps] = [plain[i], kept[i], cut[i]].map((ms) => ms.toFixed(2));
      console.log(`| ${family} | ${prompt} | ${whole} | ${within} | ${inSteps} | ${steps} |`);
      const figures = { family, ...sizes, prompt, every, wholeMs: plain[i], keptMs: kept[i], cutMs: cut[i] };
      await appendJson(flags.json, { kind: "kept-states", by: "hyades", ...figures });
    }
  }
}

/** 0 and every multiple before the prompt's end. */
function marksWithin(length: number, every: number): number[] {
  return Array.from({ length: Math.ceil(length / every) }, (_, i) => i * every);
}

/** Milliseconds of each prompt, the sum of its steps. */
async function timesOf(
  { network, weights }: RandomModel,
  maxKeptStates: number,
  prompts: readonly number[],
  stepsOf: (length: number) => readonly StepBatch[],
): Promise<number[]> {
  using gpu = await openGpu(flags.device as "dawn" | "webgpu", { profile: "fast" });
  if (!gpu) throw new Error(`Cannot open device "${flags.device}": no adapter was found`);
  const blocks = Math.ceil(network.contextLength / BLOCK_SIZE);
  using plan = await GpuPlan.create(gpu, network.graph, weights, {
    limits: {
      maxTokens: network.contextLength,
      maxSequences: 1,
      maxSamples: 1,
      maxBlocksPerSequence: blocks,
      numBlocks: blocks,
      numStateSlots: 1 + maxKeptStates,
      maxKeptStates,
    },
    kvType: "f16",
    sampling: { suppressed: [] },
  });
  const times: number[] = [];
  for (const prompt of prompts) {
    let ms = 0;
    for (const batch of stepsOf(prompt)) ms += await timeOf(plan, batch);
    times.push(ms);
  }
  return times;
}

async function timeOf(plan: GpuPlan, batch: StepBatch): Promise<number> {
  for (const end = performance.now() + Number(flags["warm-up"]); performance.now() < end;) {
    await plan.time(batch, 2);
  }
  const times = [];
  for (let i = 0; i < 5; i++) times.push(await plan.time(batch, 4));
  return median(times) / 1e6;
}

/** Rows [start, end) of a lone prompt. */
function promptRows(start: number, end: number, keptStates: readonly KeptState[] = []): StepBatch {
  const positions = Uint32Array.from({ length: end - start }, (_, i) => start + i);
  return {
    tokenIds: positions.map((position) => position % 1000),
    positions,
    slotMapping: positions,
    queryStart: Uint32Array.of(0, positions.length),
    contextLengths: Uint32Array.of(end),
    blockTables: [Uint32Array.from({ length: Math.ceil(end / BLOCK_SIZE) }, (_, i) => i)],
    stateSlots: Uint32Array.of(0),
    ...(keptStates.length > 0 && { keptStates }),
    samples: [],
  };
}
