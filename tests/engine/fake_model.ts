// A loaded model over the fake runner and the tiny tokenizer, and what tests do with engines of it.
import assert from "node:assert/strict";
import type { LocalEngine, LocalEngineOptions } from "../../engine/local_engine.ts";
import type { Engine } from "../../engine/engine.ts";
import type { GenerationEvent, GenerationRequest, Prompt } from "../../engine/request.ts";
import type { LoadedModel } from "../../models/loaded_model.ts";
import { FakeRunner, type FakeRunnerOptions } from "./fake_runner.ts";
import { readyEngine } from "./ready_engine.ts";
import { tinyTokenizerJson } from "./tiny_tokenizer.ts";

/** Ids of the tiny tokenizer: 19 special tokens, 256 bytes, 8 merges. */
export const VOCAB_SIZE = 283;

export function fakeModel(runner: FakeRunner): LoadedModel {
  return {
    runner,
    architecture: "fake",
    fileFormat: "safetensors",
    contextLength: 128,
    vocabSize: VOCAB_SIZE,
    width: 8,
    numParameters: 1000,
    weightBytes: 2000,
    backend: "cpu",
    adapter: "fake",
    eosTokenId: 0,
    suppressedTokens: [],
    tokenizer: { tokenizerJson: tinyTokenizerJson(), tokenizerConfig: {} },
  };
}

export interface FakeEngine extends AsyncDisposable {
  readonly engine: LocalEngine;
  /** Runners opened so far, the present one last. */
  readonly runners: FakeRunner[];
}

/** An engine that is ready, on whose clock no time passes: a slow machine must not change how steps are cut. */
export async function openFakeEngine(
  runnerOptions: FakeRunnerOptions = {},
  options: Partial<LocalEngineOptions> = {},
): Promise<FakeEngine> {
  const runners: FakeRunner[] = [];
  const engine = await readyEngine({
    modelId: "fake",
    now: () => 0,
    tokenHealing: false, // Scripted runners write what they are told to; token_healing_test.ts switches it on.
    openModel: () => {
      runners.push(new FakeRunner({ vocabSize: VOCAB_SIZE, ...runnerOptions }));
      return Promise.resolve(fakeModel(runners[runners.length - 1]));
    },
    ...options,
  });
  return { engine, runners, [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose]() };
}

export function textPrompt(text: string): Prompt {
  return { kind: "text", text, parseSpecial: false };
}

/** A greedy request that no end token cuts short: the hash draws those as well. */
export function request(prompt: Prompt, options: Partial<GenerationRequest> = {}): GenerationRequest {
  return { prompt, temperature: 0, ignoreEos: true, maxTokens: 8, ...options };
}

export function collect(events: AsyncIterable<GenerationEvent>): Promise<GenerationEvent[]> {
  const all = Array.fromAsync(events);
  all.catch(() => {}); // Else a test that fails before it awaits this is told of this instead.
  return all;
}

export interface Completion {
  readonly prompt: Extract<GenerationEvent, { kind: "prompt" }>;
  readonly ids: number[];
  readonly text: string;
  /** Text of each token event. */
  readonly pieces: string[];
  readonly finish: Extract<GenerationEvent, { kind: "finish" }>;
}

/** The completion of one sample. */
export function completionOf(events: readonly GenerationEvent[], sample = 0): Completion {
  const tokens = events.filter((event) => event.kind === "token").filter((event) => event.sample === sample);
  const finish = events.filter((event) => event.kind === "finish").find((event) => event.sample === sample);
  if (!finish) throw new Error(`sample ${sample} has no finish event`);
  const prompt = events.find((event) => event.kind === "prompt")!;
  const pieces = tokens.map(({ text }) => text);
  return { prompt, ids: tokens.map(({ id }) => id), text: pieces.join("") + finish.text, pieces, finish };
}

export function complete(engine: Engine, wanted: GenerationRequest): Promise<Completion> {
  const completion = collect(engine.submit(wanted)).then((events) => completionOf(events));
  completion.catch(() => {}); // As of collect().
  return completion;
}

/** Waits until `condition` holds, turn by turn of the event loop. */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!await condition()) {
    if (performance.now() > deadline) throw new Error("Waited in vain");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** A door that steps wait at, until it is opened. */
export class Gate {
  #open = Promise.withResolvers<void>();
  waiting = 0;

  async pass() {
    this.waiting++;
    await this.#open.promise;
    this.waiting--;
  }

  open() {
    this.#open.resolve();
  }

  /** Lets what waits pass, and holds what comes after. */
  openOnce() {
    this.#open.resolve();
    this.#open = Promise.withResolvers<void>();
  }
}

/** What a promise fails with, as it must. */
export async function rejection(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(() => undefined, (error) => error);
  assert.ok(outcome instanceof Error, "it must fail");
  return outcome;
}
