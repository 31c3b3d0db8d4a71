// From the checked body of a TGI request to the engine's.
import type { Grammar } from "../../engine/grammar.ts";
import type { GenerationRequest, Prompt } from "../../engine/request.ts";
import { defined } from "../defined.ts";
import { type GrammarFields, toGrammar } from "../grammar_fields.ts";
import { HttpProblem } from "../http_problem.ts";
import { toOutputRules } from "../output_rule_fields.ts";
import { engineSeed } from "../seed.ts";
import { isDrawn, type TgiParameters, type TgiRequest } from "./schema.ts";

/** @throws {HttpProblem} a field that only whole replies have is asked of a stream */
export function toGeneration({ inputs, parameters }: TgiRequest, stream: boolean): GenerationRequest {
  if (stream) refuseInStreams(parameters);
  return defined<GenerationRequest>({
    prompt: toPrompt(inputs, parameters.truncate),
    maxTokens: parameters.max_new_tokens,
    n: parameters.best_of,
    ...samplingSettings(parameters),
    frequencyPenalty: parameters.frequency_penalty,
    seed: parameters.seed === undefined ? undefined : engineSeed(parameters.seed),
    stop: parameters.stop.filter((text) => text !== ""),
    outputRules: toOutputRules(parameters),
    tokenHealing: parameters.token_healing,
    grammar: grammarOf(parameters.grammar),
    rankSamples: (parameters.best_of ?? 1) > 1 || undefined,
    logprobs: scoresWanted(parameters) ? parameters.top_n_tokens ?? 0 : undefined,
    echoPrompt: parameters.decoder_input_details || undefined,
    cacheSalt: parameters.cache_salt,
  });
}

/**
 * Whether the reply has log-probabilities. Streams have them only where details are asked for, too: with them no prompt
 * is healed, and one that ends within a word is completed much worse.
 */
function scoresWanted({ details, top_n_tokens }: TgiParameters): boolean {
  return details || top_n_tokens !== undefined;
}

function samplingSettings(parameters: TgiParameters): Pick<GenerationRequest, "temperature"> {
  if (!isDrawn(parameters) && (parameters.best_of ?? 1) === 1) return { temperature: 0 };
  const { temperature = 1, top_k: topK, top_p: topP } = parameters;
  return { temperature, ...(topK && { topK }), ...(topP && { topP }) };
}

/** Editors that lay out the FIM prompt themselves write its tokens as text. */
function toPrompt(inputs: string, truncate: number | undefined): Prompt {
  return {
    kind: "text",
    text: inputs,
    parseSpecial: true,
    ...(truncate !== undefined && { keep: truncate }),
  };
}

function refuseInStreams({ best_of = 1, decoder_input_details }: TgiParameters): void {
  const field = best_of > 1 ? "best_of" : decoder_input_details ? "decoder_input_details" : undefined;
  if (field === undefined) return;
  throw new HttpProblem("invalid", `"parameters.${field}" is not supported in streams: leave it out`, {
    param: `parameters.${field}`,
  });
}

/** Its faults are told under the client's name for it. */
function grammarOf(wanted: TgiParameters["grammar"]): Grammar | undefined {
  const grammar = wanted && toGrammar(grammarFields(wanted));
  return grammar && { ...grammar, field: "parameters.grammar" };
}

function grammarFields({ type, value }: NonNullable<TgiParameters["grammar"]>): GrammarFields {
  switch (type) {
    case "regex":
      if (typeof value === "string") return { guided_regex: value };
      break;
    case "json":
      if (isSchema(value)) return { guided_json: value };
      break;
    case "json_schema":
      if (isObject(value) && isSchema(value.schema)) return { guided_json: value.schema };
  }
  throw new HttpProblem("invalid", `"parameters.grammar.value" must be ${WANTED[type]}`, {
    param: "parameters.grammar.value",
  });
}

const WANTED = {
  regex: "a regular expression, as a string",
  json: "a JSON schema, as an object or as JSON text",
  json_schema: 'an object with a JSON schema in its "schema"',
} as const;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSchema(value: unknown): value is string | boolean | Record<string, unknown> {
  return (typeof value === "string" && isJson(value)) || typeof value === "boolean" || isObject(value);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
