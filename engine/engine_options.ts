// What an engine is made from: plain data, so that it can be sent to the worker that owns device and model.
import type { LoadOptions } from "../models/loaded_model.ts";
import type { FimTokenNames } from "./fim.ts";

export interface EngineOptions {
  /** Name under which the model is served. */
  readonly modelId: string;
  readonly load: LoadOptions;
  /** The model's fill-in-the-middle tokens, where they are not known by name. */
  readonly fimTokens?: FimTokenNames;
  /** False: no request finds anything of an earlier one in the cache. Default true. */
  readonly cachePrompts?: boolean;
  /** Most sequences that wait to be started; further requests are refused. Default 256. */
  readonly maxWaiting?: number;
}
