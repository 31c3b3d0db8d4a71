// From the checked body of POST /infill to the engine's request. Knows llama.cpp's defaults and aliases, and which of
// its samplers are ours.
import type { Deadlines } from "../../engine/deadlines.ts";
import type { GenerationRequest, Prompt } from "../../engine/request.ts";
import { defined } from "../defined.ts";
import { toGrammar } from "../grammar_fields.ts";
import type { InfillRequest } from "./infill_schema.ts";
import { toOutputRules } from "../output_rule_fields.ts";
import { engineSeed } from "../seed.ts";

type Sampling = Pick<
  GenerationRequest,
  "temperature" | "topK" | "topP" | "minP" | "presencePenalty" | "frequencyPenalty"
>;

/** llama.cpp's spellings of each sampler that the engine has; its others ("infill", "dry", ...) are ignored. */
const SAMPLER_NAMES = {
  temperature: ["temperature", "temp"],
  topK: ["top_k", "top-k"],
  topP: ["top_p", "top-p", "nucleus"],
  minP: ["min_p", "min-p"],
  penalties: ["penalties"],
} as const;

/** Both values stand for "draw one" in llama.cpp. */
const RANDOM_SEEDS: readonly number[] = [-1, 0xffffffff];

export function toInfillGeneration(body: InfillRequest): GenerationRequest {
  return defined<GenerationRequest>({
    prompt: infillPrompt(body),
    maxTokens: maxTokens(body),
    n: sampleCount(body),
    ...samplingSettings(body),
    logitBias: body.logit_bias && toLogitBias(body.logit_bias),
    seed: RANDOM_SEEDS.includes(body.seed) ? undefined : engineSeed(body.seed),
    stop: [body.stop].flat().filter((text) => text !== ""),
    outputRules: toOutputRules(body),
    tokenHealing: body.token_healing,
    grammar: toGrammar(body),
    ignoreEos: body.ignore_eos,
    cachePrompt: body.cache_prompt,
    cacheSalt: body.cache_salt,
    logprobs: probabilityCount(body) || undefined,
    speculation: body.speculation,
    promptText: wantsPrompt(body) || undefined,
    deadlines: deadlines(body),
  });
}

/** The prompt as the model saw it is as long as the context; editors that name their fields do without. */
function wantsPrompt({ response_fields }: InfillRequest): boolean {
  return !response_fields?.length || response_fields.includes("prompt");
}

/** 0 and less switch a time limit off. */
function deadlines({ t_max_prompt_ms, t_max_predict_ms }: InfillRequest): Deadlines | undefined {
  const own: Deadlines = {
    ...(t_max_prompt_ms > 0 && { promptMs: t_max_prompt_ms }),
    ...(t_max_predict_ms > 0 && { predictMs: t_max_predict_ms }),
  };
  return Object.keys(own).length > 0 ? own : undefined;
}

/** Completions asked for, by either name. */
export function sampleCount(body: InfillRequest): number {
  return body.n_cmpl ?? body.n ?? 1;
}

function probabilityCount(body: InfillRequest): number {
  return body.n_probs ?? body.logprobs ?? 0;
}

function infillPrompt(body: InfillRequest): Prompt {
  return {
    kind: "infill",
    prefix: body.input_prefix,
    suffix: body.input_suffix,
    ...(body.prompt !== "" && { lineStart: body.prompt }),
    ...(body.fim_layout && { layout: body.fim_layout }),
    extra: body.input_extra.map(({ text, filename }) => filename ? { text, filename } : { text }),
  };
}

function maxTokens(body: InfillRequest): number | undefined {
  const count = body.n_predict ?? body.max_tokens ?? body.max_completion_tokens ?? -1;
  return count < 0 ? undefined : count;
}

/** A sampler that is missing from `samplers` is not applied. */
function samplingSettings(body: InfillRequest): Partial<Sampling> {
  const applied = appliedSamplers(body.samplers);
  return {
    temperature: applied.temperature ? Math.max(0, body.temperature) : 1,
    ...(applied.topK && body.top_k > 0 && { topK: body.top_k }),
    ...(applied.topP && { topP: clampToUnit(body.top_p) }),
    ...(applied.minP && { minP: clampToUnit(body.min_p) }),
    ...(applied.penalties && {
      presencePenalty: body.presence_penalty,
      frequencyPenalty: body.frequency_penalty,
    }),
  };
}

function appliedSamplers(
  samplers: readonly string[] | undefined,
): Record<keyof typeof SAMPLER_NAMES, boolean> {
  const has = (names: readonly string[]) => !samplers || samplers.some((name) => names.includes(name));
  return {
    temperature: has(SAMPLER_NAMES.temperature),
    topK: has(SAMPLER_NAMES.topK),
    topP: has(SAMPLER_NAMES.topP),
    minP: has(SAMPLER_NAMES.minP),
    penalties: has(SAMPLER_NAMES.penalties),
  };
}

/** llama.cpp takes any number here: 1 and more means "all", 0 and less "only the likeliest". */
function clampToUnit(probability: number): number {
  return Math.min(1, Math.max(0, probability));
}

function toLogitBias(bias: NonNullable<InfillRequest["logit_bias"]>): { id: number; delta: number }[] {
  const entries: [string | number, number | false][] = Array.isArray(bias) ? bias : Object.entries(bias);
  return entries.map(([id, delta]) => ({ id: Number(id), delta: delta === false ? -Infinity : delta }));
}
