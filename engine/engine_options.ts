// What an engine is made from: plain data, so that it can be sent to the worker that owns device and model.
import type { LoadOptions } from "../models/loaded_model.ts";
import type { FimTokenNames } from "./fim.ts";

export const DEFAULT_MAX_WAITING = 256;

export interface EngineOptions {
  /** Name under which the model is served. */
  readonly modelId: string;
  readonly load: LoadOptions;
  /** The model's fill-in-the-middle tokens, where they are not known by name. */
  readonly fimTokens?: FimTokenNames;
  /** Most sequences that wait to be started; further requests are refused. */
  readonly maxWaiting?: number;
}
