// What an engine is made from: plain data, so that it can be sent to the worker that owns device and model.
import type { LoadOptions } from "../models/loaded_model.ts";
import type { FimTokenNames } from "./fim.ts";
import type { OutputRules } from "./output_rules.ts";
import type { FimLayout } from "./request.ts";

export const DEFAULT_MAX_WAITING = 256;

export interface EngineOptions {
  /** Name under which the model is served. */
  readonly modelId: string;
  readonly load: LoadOptions;
  /** The model's fill-in-the-middle tokens, where they are not known by name. */
  readonly fimTokens?: FimTokenNames;
  /** False: no request finds anything of an earlier one in the cache. Default true. */
  readonly cachePrompts?: boolean;
  /** False: no request is answered with what an earlier completion has left. Default true, where prompts are cached. */
  readonly typeThrough?: boolean;
  /** False: every step gives a sequence one token. Default true: drafts are run where they pay (`speculation.ts`). */
  readonly speculation?: boolean;
  /** False: nothing is computed ahead of what an editor may ask next. Default true, where prompts are cached. */
  readonly warmUp?: boolean;
  /** Most tokens of an infill's prompt: less is read sooner. Default: 1024 on the CPU, else as many as the model's context has room for. */
  readonly infillContext?: number;
  /** Most of them after the cursor: in one layout every letter typed has them read again. Default: 128 on the CPU, else as many as there is room for. */
  readonly infillSuffix?: number;
  /** Lays out every infill so that does not ask for a layout of its own. Default: as suits the cache. */
  readonly fimLayout?: FimLayout;
  /** Backs up the prompts of requests that do not say otherwise; true: infills too. Default: all but infills, and those as the model has it. */
  readonly tokenHealing?: boolean;
  /** What is made of the text of requests that do not say otherwise. Default: nothing. */
  readonly outputRules?: OutputRules;
  /** Most sequences of a class that wait to be started; further requests of it are refused. Default 256. */
  readonly maxWaiting?: number;
}
