// From the fields that llama.cpp's generating routes share to the engine's request. Knows llama.cpp's defaults and
// aliases, and which of its samplers are ours.
import type { Engine } from "../../engine/engine.ts";
import type { Deadlines } from "../../engine/deadlines.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { defined } from "../defined.ts";
import { encodeText, requireEncodable } from "../encode_text.ts";
import { toGrammar } from "../grammar_fields.ts";
import { toOutputRules } from "../output_rule_fields.ts";
import { engineSeed } from "../seed.ts";
import type { GenerationBody } from "./generation_schema.ts";

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

/** All but the prompt. Asks the engine where `logit_bias` has texts. */
export async function toSettings(
  engine: Engine,
  body: GenerationBody,
): Promise<Omit<GenerationRequest, "prompt">> {
  return defined<Omit<GenerationRequest, "prompt">>({
    maxTokens: maxTokens(body),
    n: sampleCount(body),
    ...samplingSettings(body),
    logitBias: body.logit_bias && await toLogitBias(engine, body.logit_bias),
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
function wantsPrompt({ response_fields }: GenerationBody): boolean {
  return !response_fields?.length || response_fields.includes("prompt");
}

/** 0 and less switch a time limit off. */
function deadlines({ t_max_prompt_ms, t_max_predict_ms }: GenerationBody): Deadlines | undefined {
  const own: Deadlines = {
    ...(t_max_prompt_ms > 0 && { promptMs: t_max_prompt_ms }),
    ...(t_max_predict_ms > 0 && { predictMs: t_max_predict_ms }),
  };
  return Object.keys(own).length > 0 ? own : undefined;
}

/** Completions asked for, by either name. */
export function sampleCount(body: GenerationBody): number {
  return body.n_cmpl ?? body.n ?? 1;
}

function probabilityCount(body: GenerationBody): number {
  return body.n_probs ?? body.logprobs ?? 0;
}

function maxTokens(body: GenerationBody): number | undefined {
  const count = body.n_predict ?? body.max_tokens ?? body.max_completion_tokens ?? -1;
  return count < 0 ? undefined : count;
}

/** A sampler that is missing from `samplers` is not applied. */
function samplingSettings(body: GenerationBody): Partial<Sampling> {
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

async function toLogitBias(
  engine: Engine,
  bias: NonNullable<GenerationBody["logit_bias"]>,
): Promise<{ id: number; delta: number }[]> {
  const entries: [string | number, number | false][] = Array.isArray(bias) ? bias : Object.entries(bias);
  requireEncodable(entries.map(([token]) => token), "logit_bias");
  const resolved = await Promise.all(entries.map(async ([token, value]) => {
    const delta = value === false ? -Infinity : value;
    return (await tokenIds(engine, token)).map((id) => ({ id, delta }));
  }));
  return resolved.flat();
}

/** Digits alone are an id, also as an object's key. */
async function tokenIds(engine: Engine, token: string | number): Promise<number[]> {
  if (typeof token === "number" || /^\d{1,10}$/.test(token)) return [Number(token)];
  return await encodeText(engine, token, "logit_bias", { parseSpecial: false });
}
