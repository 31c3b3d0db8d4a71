// From the checked body of POST /v1/completions to the engine's requests, one a prompt. Knows what the fields mean, and
// nothing of how they arrived.
import type { GenerationRequest, Prompt } from "../../engine/request.ts";
import { defined } from "../defined.ts";
import {
  choosesBest,
  type CompletionPrompt,
  type CompletionRequest,
  samplesDrawn,
} from "./completion_schema.ts";
import { toGrammar } from "../grammar_fields.ts";
import { toOutputRules } from "../output_rule_fields.ts";
import { engineSeed } from "../seed.ts";

/** `eosTokenId` stands for an empty prompt: what a model was shown before the first token of a document. */
export function toGenerationRequests(body: CompletionRequest, eosTokenId: number): GenerationRequest[] {
  const settings = samplingSettings(body);
  return splitPrompts(body.prompt).map((text) => ({
    ...settings,
    prompt: toPrompt(text, body, eosTokenId),
    // What stands for an empty prompt is not the client's to see.
    ...(text === "" && { echoPrompt: false }),
  }));
}

function splitPrompts(prompt: CompletionPrompt): (string | number[])[] {
  if (typeof prompt === "string") return [prompt];
  return typeof prompt[0] === "number" ? [prompt as number[]] : prompt as string[] | number[][];
}

function toPrompt(prompt: string | number[], body: CompletionRequest, eosTokenId: number): Prompt {
  if (typeof prompt !== "string") return { kind: "tokens", ids: prompt };
  if (body.suffix !== undefined) return infillPrompt(prompt, body.suffix, body);
  if (prompt === "") return { kind: "tokens", ids: [eosTokenId] };
  // Editors that lay out the FIM prompt themselves write its tokens as text.
  return { kind: "text", text: prompt, parseSpecial: true };
}

function infillPrompt(
  prefix: string,
  suffix: string,
  { fim_layout, extra, filename }: CompletionRequest,
): Prompt {
  return {
    kind: "infill",
    prefix,
    suffix,
    ...(fim_layout && { layout: fim_layout }),
    ...(extra && { extra: extra.map(({ text, filename }) => filename ? { text, filename } : { text }) }),
    ...(filename && { filename }),
  };
}

function samplingSettings(body: CompletionRequest): Omit<GenerationRequest, "prompt"> {
  return defined<Omit<GenerationRequest, "prompt">>({
    maxTokens: body.max_tokens,
    n: samplesDrawn(body),
    temperature: body.temperature,
    topK: body.top_k !== undefined && body.top_k > 0 ? body.top_k : undefined,
    topP: body.top_p,
    minP: body.min_p,
    presencePenalty: body.presence_penalty,
    frequencyPenalty: body.frequency_penalty,
    logitBias: body.logit_bias && toLogitBias(body.logit_bias),
    seed: body.seed === undefined ? undefined : engineSeed(body.seed),
    stop: toStopStrings(body.stop),
    outputRules: toOutputRules(body),
    tokenHealing: body.token_healing,
    grammar: toGrammar(body),
    ignoreEos: body.ignore_eos,
    cachePrompt: body.cache_prompt,
    cacheSalt: body.cache_salt,
    logprobs: body.logprobs,
    // Who is to choose needs to know how likely each is.
    rankSamples: choosesBest(body) || undefined,
    echoPrompt: body.echo,
    speculation: body.speculation,
  });
}

function toLogitBias(bias: Readonly<Record<string, number>>): { id: number; delta: number }[] {
  return Object.entries(bias).map(([id, delta]) => ({ id: Number(id), delta }));
}

/** An empty string would stop everything at once; clients send it for "none". */
function toStopStrings(stop: string | string[] | undefined): string[] | undefined {
  return stop === undefined ? undefined : [stop].flat().filter((text) => text !== "");
}
