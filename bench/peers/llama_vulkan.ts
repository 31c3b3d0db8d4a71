// Decode and prefill speed of llama.cpp's Vulkan backend by its own llama-batched-bench, one JSON line a case. Every
// setting below runs in a process of its own, every case several times in it; the best counts, so that pipelines compiled
// on first use cost nothing. A decode step ends with its logits on the host; no token is chosen.
//
//     deno run -A bench/peers/llama_vulkan.ts llama-batched-bench MODEL.gguf --batch 1,32,64 --context 512 --steps 64
import { parseArgs } from "node:util";

/** Micro-batches of its default size and of a whole batch; a cache for each sequence, or one for all. */
const SETTINGS: readonly (readonly string[])[] = [
  ["--ubatch-size", "512", "--no-kv-unified"],
  ["--ubatch-size", "2048", "--no-kv-unified"],
  ["--ubatch-size", "512", "--kv-unified"],
  ["--ubatch-size", "2048", "--kv-unified"],
];
/** llama.cpp rounds the cache of a sequence up to this many tokens. */
const CACHE_UNIT = 256;

/** The fields of a line of llama-batched-bench that are used here; times in seconds. */
interface BenchLine {
  readonly pl: number;
  readonly pp: number;
  readonly tg: number;
  readonly t_pp: number;
  readonly t_tg: number;
}

interface Best {
  decode_ms: number;
  prefill_ms: number;
}

const text = { type: "string" } as const;
const { values: flags, positionals: [binary, model] } = parseArgs({
  args: Deno.args,
  allowPositionals: true,
  options: {
    batch: { ...text, default: "1,32,64" },
    context: { ...text, default: "512" },
    steps: { ...text, default: "64" },
    rounds: { ...text, default: "3" },
  },
});

if (import.meta.main) {
  const version = /version: (\S+)/.exec(await outputOf("--version"))?.[1] ?? "unknown";
  const device = /Vulkan0: (.*?) \(\d+ MiB/.exec(await outputOf("--list-devices"))?.[1];
  // It would go on without a word, on the processor.
  if (!device) throw new Error("llama.cpp finds no Vulkan device");
  const best = new Map<number, Best>();
  for (const setting of SETTINGS) {
    for (const line of await runBench(setting)) keepBest(best, line);
  }
  const label = { peer: "llama.cpp, Vulkan", version, device, dtype: "f16" };
  for (const [batch, figures] of best) {
    console.log(JSON.stringify({ ...label, batch, context: Number(flags.context), ...figures }));
  }
}

async function outputOf(flag: string): Promise<string> {
  const { stdout, stderr } = await new Deno.Command(binary, { args: [flag] }).output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

/** Its lines, which are echoed on stderr as they are. */
async function runBench(setting: readonly string[]): Promise<BenchLine[]> {
  const batches = flags.batch.split(",").map(Number);
  const perSequence = Math.ceil((Number(flags.context) + Number(flags.steps)) / CACHE_UNIT) * CACHE_UNIT;
  const rounds = Array.from({ length: Number(flags.rounds) }, () => flags.batch).join(",");
  const sizes = ["--ctx-size", String(perSequence * Math.max(...batches)), "--batch-size", "2048"];
  const cases = ["-npp", flags.context, "-ntg", flags.steps, "-npl", rounds];
  const args = ["--model", model, "--gpu-layers", "999", "--flash-attn", "on", "--output-format", "jsonl"];
  const { code, stdout } = await new Deno.Command(binary, {
    args: [...args, ...sizes, ...cases, ...setting],
    stderr: "inherit",
  }).output();
  const output = new TextDecoder().decode(stdout);
  console.error(`${setting.join(" ")}\n${output}`);
  if (code !== 0) throw new Error(`llama-batched-bench exited with ${code}`);
  return output.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}

function keepBest(best: Map<number, Best>, { pl, tg, t_pp, t_tg }: BenchLine): void {
  const { decode_ms, prefill_ms } = best.get(pl) ?? { decode_ms: Infinity, prefill_ms: Infinity };
  best.set(pl, {
    decode_ms: Math.min(decode_ms, t_tg / tg * 1000),
    prefill_ms: Math.min(prefill_ms, t_pp * 1000),
  });
}
