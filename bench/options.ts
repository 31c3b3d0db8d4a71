// The benchmark's command line.
import { parseArgs } from "node:util";
import { DEFAULT_MODEL_DIR, DEFAULT_MODEL_ID } from "../cli/default_model.ts";
import { DEVICE_CHOICES, type DeviceChoice } from "../device/choose_backend.ts";
import type { Case } from "./measure.ts";
import { PEER_NAMES, type PeerName } from "./peers.ts";

export const USAGE = `Measure decode and prefill against peers on this machine.

  deno task bench [--device auto|cpu|dawn|webgpu] [--model DIR] [--peers ${PEER_NAMES.join(",")}]

  --device D      what Hyades runs on (default: auto)
  --model DIR     model folder (default: the embedded ${DEFAULT_MODEL_ID})
  --peers LIST    peers to measure in the same run; "none" for none
                  (default: pytorch,transformers.js on a CPU; pytorch,ort-webgpu on a GPU)
  --python PATH   Python with torch, transformers, onnx and onnxruntime (default: python3)
  --contexts LIST tokens of context (default: 64,512,1900)
  --batches LIST  sequences at once (default: 1,8)
  --threads N     CPU threads, ours and every peer's (default: all cores, 16 at most, as serve has it)
  --seconds N     time for the timed decode steps of a case (default: 3)
  --json FILE     append the figures to FILE, one JSON line a case`;

export interface BenchOptions {
  readonly device: DeviceChoice;
  readonly model: string;
  /** undefined: the device's usual ones. */
  readonly peers?: readonly PeerName[];
  readonly python: string;
  readonly contexts: readonly number[];
  readonly batches: readonly number[];
  readonly threads: number;
  readonly seconds: number;
  readonly json?: string;
}

/**
 * The options, or undefined when help was asked for.
 * @throws {TypeError | RangeError} naming the option at fault
 */
export function parseOptions(args: string[]): BenchOptions | undefined {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    args,
    options: {
      device: { ...text, default: "auto" },
      model: { ...text, default: DEFAULT_MODEL_DIR },
      peers: text,
      python: { ...text, default: "python3" },
      contexts: { ...text, default: "64,512,1900" },
      batches: { ...text, default: "1,8" },
      threads: { ...text, default: String(Math.min(16, navigator.hardwareConcurrency)) },
      seconds: { ...text, default: "3" },
      json: text,
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return undefined;
  return {
    device: oneOf("--device", values.device, DEVICE_CHOICES),
    model: values.model,
    ...(values.peers !== undefined && { peers: peerList(values.peers) }),
    python: values.python,
    contexts: values.contexts.split(",").map((n) => positive("--contexts", n)),
    batches: values.batches.split(",").map((n) => positive("--batches", n)),
    threads: positive("--threads", values.threads),
    seconds: positive("--seconds", values.seconds),
    ...(values.json !== undefined && { json: values.json }),
  };
}

/** Every batch with every context. */
export function casesOf({ batches, contexts }: BenchOptions): Case[] {
  return batches.flatMap((batch) => contexts.map((context) => ({ batch, context })));
}

function peerList(value: string): PeerName[] {
  return value === "none" ? [] : value.split(",").map((name) => oneOf("--peers", name, PEER_NAMES));
}

function positive(name: string, value: string): number {
  const number = Number(value);
  if (!(number > 0)) throw new RangeError(`Cannot measure: ${name} must be positive, received "${value}"`);
  return number;
}

function oneOf<T extends string>(name: string, value: string, choices: readonly T[]): T {
  const choice = choices.find((c) => c === value);
  if (choice) return choice;
  throw new RangeError(`Cannot measure: ${name} must be one of ${choices.join(", ")}, received "${value}"`);
}
