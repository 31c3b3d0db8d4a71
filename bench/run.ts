// `deno task bench`: measures this model on this machine, then every peer in the same run, never two at once.
import type { LoadedModel } from "../models/loaded_model.ts";
import { loadModel } from "../models/load_model.ts";
import { runCommand } from "./command.ts";
import { describeMachine } from "./machine.ts";
import { measure, type Timing } from "./measure.ts";
import { type BenchOptions, casesOf, parseOptions, USAGE } from "./options.ts";
import { messageOf, PeerBench, type PeerName, type PeerTiming } from "./peers.ts";
import { formatReport, type Report } from "./report.ts";

const MAX_STEPS = 64;

interface Ours {
  readonly backend: string;
  readonly device: string;
  readonly model: string;
  readonly timings: readonly Timing[];
}

if (import.meta.main) {
  await runCommand(async () => {
    const options = parseOptions(Deno.args);
    if (options) await bench(options);
    else console.log(USAGE);
  });
}

async function bench(options: BenchOptions): Promise<void> {
  const ours = await measureOurs(options);
  const { peers, notes } = await measurePeers(options, ours.backend);
  const machine = await describeMachine();
  const report = { machine, model: ours.model, device: ours.device, ours: ours.timings, peers, notes };
  console.log(formatReport(report));
  if (options.json) await appendJson(options.json, report);
}

async function measureOurs(options: BenchOptions): Promise<Ours> {
  progress(`Hyades: loading ${options.model}`);
  const loaded = await loadModel({
    modelDir: options.model,
    device: options.device,
    numThreads: options.threads,
  });
  await using runner = loaded.runner;
  const timings: Timing[] = [];
  for (const one of casesOf(options)) {
    progress(`Hyades: batch ${one.batch}, context ${one.context}`);
    timings.push(await measure(runner, one, { seconds: options.seconds, maxSteps: MAX_STEPS }));
  }
  return {
    backend: loaded.backend,
    device: `${loaded.backend}: ${loaded.adapter}`,
    model: describeModel(options.model, loaded),
    timings,
  };
}

function describeModel(modelDir: string, { numParameters, weightBytes }: LoadedModel): string {
  const name = modelDir.split("/").filter(Boolean).at(-1);
  return `${name}: ${(numParameters / 1e6).toFixed(1)} M parameters, ${(weightBytes / 1e6).toFixed(0)} MB`;
}

async function measurePeers(
  options: BenchOptions,
  backend: string,
): Promise<{ peers: PeerTiming[][]; notes: string[] }> {
  const device = backend === "cpu" ? "cpu" : "gpu";
  const usual: PeerName[] = device === "cpu" ? ["pytorch", "transformers.js"] : ["pytorch", "ort-webgpu"];
  await using bench = await PeerBench.create({ ...options, device });
  const peers: PeerTiming[][] = [];
  const notes: string[] = [];
  for (const name of options.peers ?? usual) {
    progress(`${name}: measuring`);
    try {
      const timings = await bench.measure(name);
      if (timings.length > 0) peers.push(timings);
      else notes.push(`${name}: printed no figures.`);
    } catch (error) {
      notes.push(`${name}: not measured. ${messageOf(error)}`);
    }
  }
  return { peers, notes };
}

/** One line a case of ours and of every peer's dtype, each with all it takes to read it alone. */
async function appendJson(file: string, { machine, device, model, ours, peers }: Report): Promise<void> {
  const common = { ...machine, device, model };
  const timings = [...ours.map((timing) => ({ peer: "hyades", ...timing })), ...peers.flat()];
  const lines = timings.map((timing) => JSON.stringify({ ...common, ...timing }) + "\n");
  await Deno.writeTextFile(file, lines.join(""), { append: true });
}

function progress(message: string): void {
  console.error(message);
}
