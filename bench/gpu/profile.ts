// Where a step's time on the GPU goes, of decodes or of a prefill: a timestamp before and after every dispatch, summed up
// by kind, beside the bytes of weights that the kind reads.
//
//     deno run -A bench/gpu/profile.ts --model DIR --device dawn --batches 1,8 --contexts 512
import { parseArgs } from "node:util";
import { type DeviceChoice } from "../../device/choose_backend.ts";
import type { DispatchTime } from "../../kernels/plan.ts";
import { GpuRunner } from "../../models/gpu_runner.ts";
import { loadModel } from "../../models/load_model.ts";
import { promptsOf } from "../measure.ts";
import { median } from "../median.ts";
import { RunnerSequences } from "../runner_sequences.ts";

const REPEATS = 9;

const USAGE = `Say where a step's time on the GPU goes, by kind of dispatch.

  deno run -A bench/gpu/profile.ts [--model DIR] [--device dawn|webgpu]

  --model DIR      model folder (default: weights/hyades-starcoder-31m)
  --device D       provider (default: auto)
  --batches LIST   sequences at once (default: 1,8)
  --contexts LIST  tokens of context (default: 512)
  --prefill LIST   instead, one prompt of so many tokens in one step
  --trace FILE     the last case's dispatches for Chrome's tracing page`;

const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    model: { ...text, default: "weights/hyades-starcoder-31m" },
    device: { ...text, default: "auto" },
    batches: { ...text, default: "1,8" },
    contexts: { ...text, default: "512" },
    prefill: text,
    trace: text,
    help: { type: "boolean", short: "h" },
  },
});
if (import.meta.main) {
  if (flags.help) console.log(USAGE);
  else await main();
}

async function main(): Promise<void> {
  const numbers = (list: string) => list.split(",").map(Number);
  const batches = flags.prefill ? [1] : numbers(flags.batches);
  const contexts = numbers(flags.prefill ?? flags.contexts);
  const { runner, backend, adapter } = await loadModel({
    modelDir: flags.model,
    device: flags.device as DeviceChoice,
    maxSequences: Math.max(...batches),
    ...(flags.prefill && { maxBatchTokens: Math.max(...contexts) }),
  });
  await using _ = runner;
  if (!(runner instanceof GpuRunner)) throw new TypeError("Cannot profile: choose --device dawn or webgpu");
  for (const batch of batches) {
    for (const context of contexts) {
      const what = flags.prefill ? `prefill of ${context}` : `batch ${batch}, context ${context}`;
      console.log(`${backend} (${adapter}), ${what}`);
      printTable(await profile(runner, batch, context));
    }
  }
}

/** Several profiles of one and the same step. */
async function profile(runner: GpuRunner, batch: number, context: number): Promise<DispatchTime[][]> {
  const sequences = new RunnerSequences(runner, promptsOf(batch, context), flags.prefill ? 0 : 1);
  if (!flags.prefill) await sequences.prefill();
  const step = flags.prefill ? sequences.prefillBatch() : sequences.decodeBatch();
  const profiles: DispatchTime[][] = [];
  for (let i = 0; i < REPEATS; i++) profiles.push(await runner.profile(step));
  if (flags.trace) await Deno.writeTextFile(flags.trace, chromeTrace(profiles.at(-1)!));
  return profiles;
}

/** The layers' dispatches of one kind, as one row. */
function printTable(profiles: readonly DispatchTime[][]): void {
  const kinds = new Map<string, { count: number; us: number; bytes: number }>();
  profiles[0].forEach(({ label, weightBytes }, i) => {
    const kind = label.replace(/\d+\./, "").replace(/ \d+ /, " ");
    const us = median(profiles.map((times) => times[i].end - times[i].begin)) / 1000;
    const sum = kinds.get(kind) ?? { count: 0, us: 0, bytes: 0 };
    kinds.set(kind, { count: sum.count + 1, us: sum.us + us, bytes: sum.bytes + weightBytes });
  });
  console.log(
    "| kind | dispatches | us each | us in all | weights TB/s |\n| --- | ---: | ---: | ---: | ---: |",
  );
  for (const [kind, { count, us, bytes }] of kinds) {
    const rate = bytes > 0 ? (bytes / us / 1e6).toFixed(2) : "";
    console.log(`| ${kind} | ${count} | ${(us / count).toFixed(2)} | ${us.toFixed(0)} | ${rate} |`);
  }
  const total = median(profiles.map((times) => times.at(-1)!.end)) / 1000;
  const busy = [...kinds.values()].reduce((sum, { us }) => sum + us, 0);
  console.log(`in all ${profiles[0].length} dispatches, ${busy.toFixed(0)} us of ${total.toFixed(0)} us\n`);
}

/** https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU: complete events, microseconds. */
function chromeTrace(times: readonly DispatchTime[]): string {
  return JSON.stringify({
    traceEvents: times.map(({ label, begin, end }) => ({
      name: label,
      ph: "X",
      pid: 0,
      tid: 0,
      ts: begin / 1000,
      dur: (end - begin) / 1000,
    })),
  });
}
