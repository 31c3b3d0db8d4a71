// What is done with a model whose device went away.
import type { LoadedModel } from "../models/loaded_model.ts";
import type { ModelRunner } from "../models/runner.ts";
import { EngineUnavailableError } from "./errors.ts";

export const DEFAULT_REOPEN_DELAYS_MS: readonly number[] = [0, 1_000, 5_000];

export interface ReopenOptions {
  readonly openModel: () => Promise<LoadedModel>;
  /** Wait before each attempt: a driver that resets takes its time. */
  readonly delaysMs: readonly number[];
  /** Asked before each attempt. */
  readonly isClosed: () => boolean;
}

/**
 * Opens a model anew, with as many attempts as there are delays.
 * @throws what the last attempt threw
 */
export async function reopenModel({ openModel, delaysMs, isClosed }: ReopenOptions): Promise<LoadedModel> {
  let failure: unknown = new EngineUnavailableError("The engine was closed", "closed");
  for (const delayMs of delaysMs) {
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (isClosed()) break;
    try {
      return await openModel();
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** Gives a runner back whose owner has nothing to gain from knowing that it could not. */
export async function disposeQuietly(runner: ModelRunner) {
  try {
    await runner[Symbol.asyncDispose]();
  } catch {
    // A lost device cannot be told to free anything.
  }
}
