// Runs one model on one WebGPU provider: its greedy tokens against the reference of reference.py, then the time of
// decode steps and of a prefill. Ends with 1 when a difference is more than a tie.
//
//     deno run -A bench/gpu/compare.ts --model DIR --reference REF.json --device dawn
import { parseArgs } from "node:util";
import { DEFAULT_MODEL_DIR } from "../../cli/default_model.ts";
import { type DeviceChoice } from "../../device/choose_backend.ts";
import type { KvType } from "../../kernels/attention/kv_layout.ts";
import { loadModel } from "../../models/load_model.ts";
import type { LoadedModel } from "../../models/loaded_model.ts";
import type { ModelRunner } from "../../models/runner.ts";
import { measure, measurePrefill } from "../measure.ts";
import { RunnerSequences } from "../runner_sequences.ts";
import { appendJson } from "./json_lines.ts";
import { weightBytesOfStep } from "./step_bytes.ts";

/** A choice whose two best logits are nearer than this share of max|logit| may fall either way. */
const TIE = 1e-3;

interface Reference {
  readonly prompt: readonly number[];
  readonly ids: readonly number[];
  /** Distance of the two largest logits as a share of max|logit|, per token. */
  readonly gaps: readonly number[];
}

interface Verdict {
  readonly equal: boolean;
  readonly text: string;
}

const USAGE =
  `Run one model on one WebGPU provider: greedy tokens against a reference, then decode steps and a prefill.

  deno run -A bench/gpu/compare.ts [--model DIR] [--device dawn|webgpu] [--reference FILE]

  --model DIR       model folder (default: the embedded one)
  --reference FILE  greedy tokens of reference.py to compare with (default: none)
  --device D        provider (default: auto)
  --contexts LIST   tokens of context of a decode step (default: 64,512,1900)
  --batches LIST    sequences at once (default: 1,8)
  --prefill LIST    tokens of a prompt that is timed (default: 2048)
  --seconds N       for each decode (default: 2)
  --kv-type T       of the cache: f32, f16 or i8 (default: the model's)
  --bandwidth N     TB/s of the memory, to say what share of it weights are read at
  --json FILE       a line for each figure is appended to it`;

const text = { type: "string" } as const;
const { values: flags } = parseArgs({
  args: Deno.args,
  options: {
    model: { ...text, default: DEFAULT_MODEL_DIR },
    reference: text,
    device: { ...text, default: "auto" },
    contexts: { ...text, default: "64,512,1900" },
    batches: { ...text, default: "1,8" },
    prefill: { ...text, default: "2048" },
    seconds: { ...text, default: "2" },
    "kv-type": text,
    /** What the memory can deliver, TB/s. */
    bandwidth: text,
    json: text,
    help: { type: "boolean", short: "h" },
  },
});
const numbers = (list: string) => list.split(",").filter(Boolean).map(Number);
if (import.meta.main) {
  if (flags.help) console.log(USAGE);
  else Deno.exit(await main() ? 0 : 1);
}

async function main(): Promise<boolean> {
  const started = performance.now();
  const loaded = await load();
  const label = `${flags.model.split("/").at(-1)} on ${loaded.backend} (${loaded.adapter})`;
  console.log(`${label}: loaded in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  let equal = true;
  {
    await using runner = loaded.runner;
    if (flags.reference) {
      const reference = await readReference(flags.reference);
      equal = await compareTokens(runner, reference);
      await appendJson(flags.json, { label, tokens: reference.ids.length, equal });
    }
    await printTimings(runner, loaded.contextLength, label);
  }
  return equal;
}

async function load(kvType = flags["kv-type"] as KvType | undefined): Promise<LoadedModel> {
  return await loadModel({
    modelDir: flags.model,
    device: flags.device as DeviceChoice,
    maxBatchTokens: Math.max(...numbers(flags.prefill), 256),
    maxSequences: Math.max(...numbers(flags.batches)),
    ...(kvType && { kvType }),
  });
}

/** The runner's tokens against the reference; where the natural f16 cache decides a tie otherwise, f32 must settle it. */
async function compareTokens(runner: ModelRunner, reference: Reference): Promise<boolean> {
  const verdict = compare(await greedyTokens(runner, reference), reference);
  console.log(`tokens: ${verdict.text}`);
  if (verdict.equal) return true;
  await using precise = (await load("f32")).runner;
  const again = compare(await greedyTokens(precise, reference), reference);
  console.log(`tokens, f32 cache: ${again.text}`);
  return again.equal;
}

async function greedyTokens(runner: ModelRunner, { prompt, ids }: Reference): Promise<number[]> {
  const sequences = new RunnerSequences(runner, [prompt], ids.length);
  const tokens: number[] = [];
  await sequences.prefill();
  while (tokens.push(sequences.next[0]) < ids.length) await sequences.decode();
  await sequences.settle();
  return tokens;
}

function compare(tokens: readonly number[], { ids, gaps }: Reference): Verdict {
  const first = ids.findIndex((id, i) => id !== tokens[i]);
  if (first < 0) return { equal: true, text: `all ${ids.length} equal` };
  const tie = gaps[first] < TIE;
  return {
    equal: tie,
    text:
      `token ${first} is ${tokens[first]} instead of ${
        ids[first]
      }; the reference's two best logits differ by ` +
      `${gaps[first].toExponential(1)} of max|logit|: ${tie ? "a tie" : "NOT a tie"}`,
  };
}

async function readReference(path: string): Promise<Reference> {
  return JSON.parse(await Deno.readTextFile(path));
}

async function printTimings(runner: ModelRunner, contextLength: number, label: string): Promise<void> {
  const effort = { seconds: Number(flags.seconds), maxSteps: 64 };
  const weightBytes = await weightBytesOfStep(flags.model);
  console.log(
    "| batch | context | decode ms | weights TB/s | of the limit | prefill ms |\n| ---: | ---: | ---: | ---: | ---: | ---: |",
  );
  for (const batch of numbers(flags.batches)) {
    for (const context of numbers(flags.contexts)) {
      const timing = await measure(runner, { batch, context }, effort);
      const { decodeMs, prefillMs } = timing, rate = weightBytes / decodeMs / 1e9;
      const share = flags.bandwidth ? (rate / Number(flags.bandwidth)).toFixed(3) : "-";
      console.log(
        `| ${batch} | ${context} | ${decodeMs.toFixed(3)} | ${rate.toFixed(2)} | ${share} | ${
          prefillMs.toFixed(1)
        } |`,
      );
      await appendJson(flags.json, { label, ...timing, weightBytes });
    }
  }
  for (const context of numbers(flags.prefill)) {
    if (context > contextLength) continue;
    const prefillMs = await measurePrefill(runner, { batch: 1, context });
    console.log(`| 1 | ${context} | - | - | - | ${prefillMs.toFixed(1)} |`);
    await appendJson(flags.json, { label, batch: 1, context, prefillMs });
  }
}
