// From the checked body of POST /api/generate to the engine's request.
import type { Engine } from "../../engine/engine.ts";
import type { Grammar } from "../../engine/grammar.ts";
import type { GenerationRequest, Prompt } from "../../engine/request.ts";
import { defined } from "../defined.ts";
import { type GrammarFields, toGrammar } from "../grammar_fields.ts";
import { HttpProblem } from "../http_problem.ts";
import { toOutputRules } from "../output_rule_fields.ts";
import { engineSeed } from "../seed.ts";
import { beginningOf } from "../../engine/shown_text.ts";
import type { GenerateRequest, OllamaOptions } from "./generate_schema.ts";
import { isApplied } from "./template.ts";

/** @throws {HttpProblem} `template` is another than the model's, `format` is neither "json" nor a schema, or the model does not fill in */
export function toGeneration(engine: Engine, body: GenerateRequest): GenerationRequest {
  const { options, template } = body;
  if (!isApplied(template, engine.model)) throw foreignTemplate();
  return defined<GenerationRequest>({
    prompt: toPrompt(engine, body),
    maxTokens: maxTokensOf(options),
    temperature: Math.max(0, options.temperature),
    topK: options.top_k > 0 ? options.top_k : undefined,
    topP: clampToUnit(options.top_p),
    minP: clampToUnit(options.min_p),
    presencePenalty: options.presence_penalty,
    frequencyPenalty: options.frequency_penalty,
    seed: options.seed < 0 ? undefined : engineSeed(options.seed),
    stop: [options.stop].flat().filter((text) => text !== ""),
    outputRules: toOutputRules(body),
    tokenHealing: body.token_healing,
    grammar: grammarOf(body.format),
    logprobs: body.logprobs ? body.top_logprobs : undefined,
    cacheSalt: body.cache_salt,
  });
}

/** Undefined: as many as fit. */
export function maxTokensOf({ num_predict }: OllamaOptions): number | undefined {
  return num_predict < 0 ? undefined : num_predict;
}

function toPrompt(engine: Engine, body: GenerateRequest): Prompt {
  const { prompt, suffix, context = [], truncate } = body;
  if (suffix !== "") return infillPrompt(engine, prompt, suffix);
  return {
    kind: "text",
    text: prompt,
    parseSpecial: true,
    ...(context.length > 0 && { before: context }),
    ...(truncate && { keep: promptRoom(engine, body) }),
  };
}

function foreignTemplate(): HttpProblem {
  const message = '"template" must be the model\'s own: lay the prompt out yourself, and set "raw"';
  return new HttpProblem("invalid", message, { param: "template" });
}

function infillPrompt(engine: Engine, prefix: string, suffix: string): Prompt {
  const { id, fim } = engine.model;
  if (fim.supported) return { kind: "infill", prefix, suffix };
  throw new HttpProblem("fimUnsupported", `"${id}" does not support insert`, { param: "suffix" });
}

/** Tokens that a prompt may have: the completion's share is what was asked for, but at most half; unasked, a quarter. */
function promptRoom({ model: { contextLength } }: Engine, { options }: GenerateRequest): number {
  const wanted = maxTokensOf(options) ?? Math.floor(contextLength / 4);
  return contextLength - Math.max(1, Math.min(wanted, Math.floor(contextLength / 2)));
}

/** Its faults are told under the client's name for it. */
function grammarOf(format: GenerateRequest["format"]): Grammar | undefined {
  const grammar = toGrammar(grammarFields(format));
  return grammar && { ...grammar, field: "format" };
}

function grammarFields(format: GenerateRequest["format"]): GrammarFields {
  if (format === undefined || format === "") return {};
  if (format === "json") return { response_format: { type: "json_object" } };
  if (typeof format === "object") return { guided_json: format };
  throw new HttpProblem(
    "invalid",
    `"format" must be "json" or a JSON schema, received ${JSON.stringify(beginningOf(format, 60))}`,
    {
      param: "format",
    },
  );
}

/** Ollama takes any number here: 1 and more means "all", 0 and less "only the likeliest". */
function clampToUnit(probability: number): number {
  return Math.min(1, Math.max(0, probability));
}
