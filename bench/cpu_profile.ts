// Where a decode step's time goes on the CPU: `deno run -A bench/cpu_profile.ts`. One thread; each call of the plan is run
// as a step of its own, so the kernels are as in serving and only the waiting between threads is missing. Prints the
// processor's own rates first, to hold the products against.
import { parseArgs } from "node:util";
import { DEFAULT_MODEL_DIR } from "../cli/default_model.ts";
import { CpuThreads } from "../device/cpu_threads.ts";
import * as layout from "../kernels/cpu_layout.ts";
import { loadCpuModule, productRatesOf } from "../kernels/cpu_module.ts";
import { loadModel } from "../models/load_model.ts";
import { describeMachine } from "./machine.ts";
import { RunnerSequences } from "./runner_sequences.ts";

const CASES = [[1, 64], [1, 1900], [8, 64], [8, 1900]] as const;
const STEPS = 60;
const USAGE = `Say where a decode step's time goes on the CPU, by kind of call. It has no options.

  deno run -A bench/cpu_profile.ts`;
const KINDS: Readonly<Record<number, string>> = {
  [layout.EMBEDDING]: "embedding",
  [layout.LAYER_NORM]: "layerNorm",
  [layout.QUANTIZE_ROWS]: "quantizeRows",
  [layout.LINEAR_I8]: "linear",
  [layout.LINEAR_F32]: "linear",
  [layout.STORE_KV]: "storeKv",
  [layout.ATTENTION]: "attention",
  [layout.GATHER_ROWS]: "gatherRows",
};

/** Milliseconds by kind of call in the latest step; undefined while steps run whole. */
let spent: Map<string, number> | undefined;

const runStep = CpuThreads.prototype.step;
CpuThreads.prototype.step = function () {
  if (!spent) return runStep.call(this);
  const words = new Uint32Array(this.memory.buffer);
  const count = words[layout.NUM_CALLS / 4], calls = words[layout.CALLS / 4];
  words[layout.NUM_CALLS / 4] = 1;
  for (let i = 0; i < count; i++) {
    const call = words[layout.CALLS / 4] = calls + i * layout.CALL_BYTES;
    const kind = KINDS[words[(call + layout.KIND) / 4]], started = performance.now();
    runStep.call(this);
    spent.set(kind, (spent.get(kind) ?? 0) + performance.now() - started);
  }
  words[layout.NUM_CALLS / 4] = count;
  words[layout.CALLS / 4] = calls;
};

if (import.meta.main) {
  const { values } = parseArgs({ args: Deno.args, options: { help: { type: "boolean", short: "h" } } });
  if (values.help) console.log(USAGE);
  else await profile();
}

async function profile(): Promise<void> {
  const { cpu, commit, date } = await describeMachine();
  const rates = await productRatesOf(await loadCpuModule());
  const billions = (rate: number) => `${(rate / 1e9).toFixed(1)} G a second`;
  console.log(`${cpu}, one thread. Commit ${commit}, ${date}.\n`);
  console.log(`products of 16 bytes: ${billions(rates.bytes)}; of 4 floats: ${billions(rates.floats)}\n`);
  const { runner } = await loadModel({ modelDir: DEFAULT_MODEL_DIR, device: "cpu", numThreads: 1 });
  await using _ = runner;
  const kinds = [...new Set(Object.values(KINDS))];
  console.log(`| batch | context | ${kinds.join(" | ")} |\n|${" ---: |".repeat(kinds.length + 2)}`);
  for (const [batch, context] of CASES) {
    const prompts = Array.from({ length: batch }, (_, i) => new Array<number>(context).fill(100 + i));
    const sequences = new RunnerSequences(runner, prompts, STEPS + 1);
    await sequences.prefill();
    const least = await leastByKind(sequences);
    const cells = kinds.map((kind) => (least.get(kind) ?? 0).toFixed(2));
    console.log(`| ${[batch, context, ...cells].join(" | ")} |`);
  }
}

/** Milliseconds a step, the best of many. */
async function leastByKind(sequences: RunnerSequences): Promise<Map<string, number>> {
  const least = new Map<string, number>();
  for (let step = 0; step < STEPS; step++) {
    spent = new Map();
    await sequences.decode();
    for (const [kind, ms] of spent) least.set(kind, Math.min(ms, least.get(kind) ?? Infinity));
  }
  spent = undefined;
  return least;
}
