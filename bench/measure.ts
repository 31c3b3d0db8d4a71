// Times one model on one runner: milliseconds of a decode step and of a prefill, for a batch and a context.
import type { ModelRunner } from "../models/runner.ts";
import { median } from "./median.ts";
import { RunnerSequences } from "./runner_sequences.ts";

export interface Case {
  readonly batch: number;
  readonly context: number;
}

export interface Timing extends Case {
  /** Median of the single-token steps that follow a context of `context` tokens. */
  readonly decodeMs: number;
  /** Best of the prefills of `batch` prompts of `context` tokens. */
  readonly prefillMs: number;
}

export interface Effort {
  /** Time to spend on the timed decode steps of a case, seconds. */
  readonly seconds: number;
  readonly maxSteps: number;
}

/** A GPU that was idle takes a while until its clock is up, and the engine of this language until it has compiled. */
const WARM_UP_MS = 1500;
const MIN_STEPS = 5;
const PREFILLS = 2;

/** @throws {RangeError} when the runner's cache is too small for the case */
export async function measure(
  runner: ModelRunner,
  { batch, context }: Case,
  effort: Effort,
): Promise<Timing> {
  const sequences = new RunnerSequences(runner, promptsOf(batch, context), effort.maxSteps);
  const prefillMs = await timePrefill(sequences);
  const decodeMs = await timeDecode(sequences, effort);
  await sequences.settle();
  return { batch, context, decodeMs, prefillMs };
}

/** Milliseconds of a prefill alone, which may fill the model's whole context. */
export async function measurePrefill(runner: ModelRunner, { batch, context }: Case): Promise<number> {
  return await timePrefill(new RunnerSequences(runner, promptsOf(batch, context), 0));
}

/** The first, untimed pass compiles kernels and touches memory for the first time. */
async function timePrefill(sequences: RunnerSequences): Promise<number> {
  await sequences.prefill();
  const durations: number[] = [];
  for (let i = 0; i < PREFILLS; i++) durations.push(await timed(() => sequences.prefill()));
  return Math.min(...durations);
}

async function timeDecode(sequences: RunnerSequences, { seconds, maxSteps }: Effort): Promise<number> {
  const warm = performance.now() + WARM_UP_MS;
  do await sequences.rehearse(); while (performance.now() < warm);
  const durations: number[] = [];
  const deadline = performance.now() + seconds * 1000;
  while (durations.length < maxSteps && (durations.length < MIN_STEPS || performance.now() < deadline)) {
    durations.push(await timed(() => sequences.decode()));
  }
  return median(durations);
}

/** Prompts of `context` ordinary tokens, all different. */
export function promptsOf(batch: number, context: number): number[][] {
  return Array.from({ length: batch }, (_, i) => prompt(context, i));
}

/** Ordinary token ids (no special ones), different for each sequence. */
function prompt(length: number, sequence: number): number[] {
  return Array.from({ length }, (_, i) => 32 + (i * 7919 + sequence * 104_729) % 968);
}

async function timed(action: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await action();
  return performance.now() - started;
}
