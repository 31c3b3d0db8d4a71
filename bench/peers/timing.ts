// How a JavaScript peer is timed, the same for all: prefill twice, the better counts; then greedy single-token steps,
// the median counts; of a slow peer fewer of them. Prints one JSON line a case, as the Python peers do, and on stderr how
// far it has come.
import { median } from "../median.ts";

/** One batch of a peer's model, from its first token on; each call appends to the peer's own cache. */
export interface PeerSequences {
  /** Runs `rows` new tokens per sequence and resolves when the last row's logits are on the host. */
  forward(tokenIds: BigInt64Array, rows: number): Promise<void>;
  /** The likeliest next token of each sequence. */
  greedy(): BigInt64Array;
  release(): Promise<void>;
}

export interface PeerArguments {
  /** Folder that export_onnx.py wrote. */
  readonly modelDir: string;
  readonly threads: number;
  readonly batches: readonly number[];
  readonly contexts: readonly number[];
  readonly dtypes: readonly string[];
  readonly steps: number;
}

/** `MODEL_DIR --threads N --batch 1,8 --context 64,512 --dtype fp32,q8 --steps N` */
export function parsePeerArguments(args: readonly string[]): PeerArguments {
  const named = new Map<string, string>();
  for (let i = 1; i + 1 < args.length; i += 2) named.set(args[i], args[i + 1]);
  const list = (name: string) => (named.get(name) ?? "").split(",").filter(Boolean);
  return {
    modelDir: args[0],
    threads: Number(named.get("--threads") ?? 2),
    batches: list("--batch").map(Number),
    contexts: list("--context").map(Number),
    dtypes: list("--dtype"),
    steps: Number(named.get("--steps") ?? 16),
  };
}

/** Measures every batch and context of one loaded model; `label` (peer, version, dtype) opens each line. */
export async function measurePeer(
  label: Record<string, unknown>,
  args: PeerArguments,
  start: (batch: number) => Promise<PeerSequences>,
): Promise<void> {
  for (const batch of args.batches) {
    for (const context of args.contexts) {
      const figures = await measureCase(args, batch, context, start);
      console.log(JSON.stringify({ ...label, threads: args.threads, batch, context, ...figures }));
    }
  }
}

async function measureCase(
  args: PeerArguments,
  batch: number,
  context: number,
  start: (batch: number) => Promise<PeerSequences>,
): Promise<{ decode_ms: number; prefill_ms: number }> {
  const prompt = BigInt64Array.from({ length: batch * context }, (_, i) => BigInt(32 + (i * 7919) % 968));
  const say = (what: string, ms: number) =>
    console.error(`batch ${batch}, context ${context}: ${what} ${ms.toFixed(1)} ms`);
  const cold = await prefill(prompt, batch, context, start);
  say("first prefill", cold.prefillMs);
  await cold.sequences.release();
  const first = await prefill(prompt, batch, context, start);
  await first.sequences.release();
  const { sequences, prefillMs } = await prefill(prompt, batch, context, start);
  const prefill_ms = Math.min(prefillMs, first.prefillMs);
  say("prefill", prefill_ms);
  const steps: number[] = [];
  const deadline = performance.now() + DECODE_MS;
  for (let i = 0; i < args.steps + WARM_UP_STEPS; i++) {
    if (steps.length >= MIN_STEPS && performance.now() > deadline) break;
    const tokenIds = sequences.greedy();
    const started = performance.now();
    await sequences.forward(tokenIds, 1);
    const ms = performance.now() - started;
    if (i >= WARM_UP_STEPS) steps.push(ms);
    else say("first steps", ms);
  }
  await sequences.release();
  return { decode_ms: median(steps), prefill_ms };
}

const WARM_UP_STEPS = 2;
/** Fewest steps that are timed, and the time after which no more than those are. */
const MIN_STEPS = 5;
const DECODE_MS = 20_000;

async function prefill(
  prompt: BigInt64Array,
  batch: number,
  context: number,
  start: (batch: number) => Promise<PeerSequences>,
): Promise<{ sequences: PeerSequences; prefillMs: number }> {
  const sequences = await start(batch);
  const started = performance.now();
  await sequences.forward(prompt, context);
  return { sequences, prefillMs: performance.now() - started };
}

/** Index of the largest logit of each sequence's last row; logits [batch, 1, vocabSize]. */
export function argmaxRows(logits: Float32Array, batch: number): BigInt64Array {
  const vocabSize = logits.length / batch;
  return BigInt64Array.from({ length: batch }, (_, row) => {
    const values = logits.subarray(row * vocabSize, (row + 1) * vocabSize);
    let best = 0;
    for (let i = 1; i < vocabSize; i++) if (values[i] > values[best]) best = i;
    return BigInt(best);
  });
}
