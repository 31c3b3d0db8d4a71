// Refuses requests that cannot be served whatever the engine's load, naming the field at fault. Pure.
import { MAX_ADJUSTMENTS } from "../kernels/control.ts";
import { MAX_TOP_LOGPROBS } from "../kernels/step.ts";
import { InvalidRequestError } from "./errors.ts";
import type { Grammar } from "./grammar.ts";
import { unsupportedInSchema } from "./json_schema_support.ts";
import { type OutputRules, SCOPES } from "./output_rules.ts";
import type { GenerationRequest, Prompt } from "./request.ts";

/** A step has room for a quarter of these: samples that wait for their turn keep others from theirs. */
const MOST_BIASES = 4 * MAX_ADJUSTMENTS;

/** @throws {InvalidRequestError} */
export function validateRequest(
  request: GenerationRequest,
  limits: { vocabSize: number; maxSamples: number },
) {
  const { vocabSize, maxSamples } = limits;
  wholeNumber(request, "maxTokens", 0, Infinity);
  wholeNumber(request, "n", 1, maxSamples);
  wholeNumber(request, "topK", 0, Infinity);
  wholeNumber(request, "logprobs", 0, MAX_TOP_LOGPROBS);
  wholeNumber(request, "seed", -Infinity, Infinity);
  realNumber(request, "temperature", 0, Infinity);
  realNumber(request, "topP", 0, 1);
  realNumber(request, "minP", 0, 1);
  realNumber(request, "presencePenalty", -Infinity, Infinity);
  realNumber(request, "frequencyPenalty", -Infinity, Infinity);
  for (const [name, value] of Object.entries(request.deadlines ?? {})) {
    if (!(value >= 0)) throw invalid(`deadlines.${name}`, "a number of at least 0", value);
  }
  for (const stop of request.stop ?? []) {
    if (typeof stop !== "string" || stop === "") throw invalid("stop", "strings that are not empty", stop);
  }
  for (const { id, delta } of request.logitBias ?? []) {
    if (!isTokenId(id, vocabSize)) throw invalid("logitBias", `token ids from 0 to ${vocabSize - 1}`, id);
    if (!(delta < Infinity)) throw invalid("logitBias", "numbers", delta);
  }
  const numBiases = (request.n ?? 1) * (request.logitBias?.length ?? 0);
  if (numBiases > MOST_BIASES) {
    throw invalid("logitBias", `at most ${MOST_BIASES} biases over all n samples`, numBiases);
  }
  if (request.cacheSalt !== undefined && typeof request.cacheSalt !== "string") {
    throw invalid("cacheSalt", "a string", request.cacheSalt);
  }
  validateRules(request.outputRules ?? {});
  if (request.grammar) validateGrammar(request.grammar);
  validatePrompt(request.prompt, vocabSize);
}

function validatePrompt(prompt: Prompt, vocabSize: number) {
  const tokens = prompt.kind === "tokens" ? prompt.ids : prompt.kind === "text" ? prompt.before : undefined;
  const wrong = tokens?.find((id) => !isTokenId(id, vocabSize));
  if (wrong !== undefined) {
    const field = prompt.kind === "tokens" ? "prompt" : "before";
    throw invalid(field, `token ids from 0 to ${vocabSize - 1}`, wrong);
  }
  if (prompt.kind === "text" && prompt.keep !== undefined && !(prompt.keep >= 1)) {
    throw invalid("keep", "a number of at least 1", prompt.keep);
  }
}

function validateRules({ scope = "none", minIndent = 0 }: OutputRules) {
  if (!SCOPES.includes(scope)) throw invalid("outputRules.scope", `one of ${SCOPES.join(", ")}`, scope);
  if (Number.isSafeInteger(minIndent) && minIndent >= 0) return;
  throw invalid("outputRules.minIndent", "a whole number of at least 0", minIndent);
}

/** Longer ones are refused: compiling takes more than in proportion. */
const MAX_GRAMMAR_UNITS = 65_536;

function validateGrammar(grammar: Grammar) {
  const { field } = grammar;
  const text = "schema" in grammar ? grammar.schema : "pattern" in grammar ? grammar.pattern : grammar.text;
  if (text.length > MAX_GRAMMAR_UNITS) {
    throw invalidGrammar(
      field,
      `must be at most ${MAX_GRAMMAR_UNITS} characters long, received ${text.length}`,
    );
  }
  if (text === "") throw invalidGrammar(field, 'must be more than an empty text, received ""');
  const fault = grammar.kind === "jsonSchema" ? unsupportedInSchema(JSON.parse(text)) : undefined;
  if (fault !== undefined) throw invalidGrammar(field, `cannot be followed: ${fault}`);
}

/** Its field has the client's own name. */
function invalidGrammar(field: string, fault: string): InvalidRequestError {
  return new InvalidRequestError(`Cannot admit request: "${field}" ${fault}`, {
    field,
    reason: "invalid_value",
  });
}

/** The prompt and at least `numNew` tokens do not fit the context. */
export function contextLengthError(
  prompt: number,
  context: number,
  options: { atLeast?: boolean; numNew: number },
) {
  const most = context - options.numNew;
  return new InvalidRequestError(
    `Cannot admit request: prompt must be at most ${most} tokens, received ${
      options.atLeast ? "at least " : ""
    }${prompt}`,
    { field: "prompt", reason: "context_length_exceeded", tokens: { prompt, context } },
  );
}

export function emptyPromptError(): InvalidRequestError {
  return new InvalidRequestError("Cannot admit request: prompt must have at least 1 token, received none", {
    field: "prompt",
    reason: "invalid_value",
  });
}

export function unknownTokenError(id: number, text: string, vocabSize: number): InvalidRequestError {
  return new InvalidRequestError(
    `Cannot admit request: prompt has the token ${JSON.stringify(text)}, whose id ${id} the model lacks: ` +
      `it has ids 0 to ${vocabSize - 1}`,
    { field: "prompt", reason: "invalid_value" },
  );
}

/** In llama.cpp's words, of which each missing token is a sentence. */
export function fimUnsupportedError(missing: readonly string[]): InvalidRequestError {
  return new InvalidRequestError(
    `Infill is not supported by this model: ${missing.map((role) => `${role} token is missing.`).join(" ")}`,
    { field: "prompt", reason: "fim_unsupported" },
  );
}

type NumberField = {
  [K in keyof GenerationRequest]-?: NonNullable<GenerationRequest[K]> extends number ? K : never;
}[keyof GenerationRequest];

function wholeNumber(request: GenerationRequest, field: NumberField, least: number, most: number) {
  const value = request[field];
  if (value === undefined || (Number.isSafeInteger(value) && value >= least && value <= most)) return;
  throw invalid(field, `a whole number${range(least, most)}`, value);
}

function realNumber(request: GenerationRequest, field: NumberField, least: number, most: number) {
  const value = request[field];
  if (value === undefined || (Number.isFinite(value) && value >= least && value <= most)) return;
  throw invalid(field, `a number${range(least, most)}`, value);
}

function range(least: number, most: number): string {
  if (least === -Infinity) return "";
  return most === Infinity ? ` of at least ${least}` : ` from ${least} to ${most}`;
}

function isTokenId(id: number, vocabSize: number): boolean {
  return Number.isSafeInteger(id) && id >= 0 && id < vocabSize;
}

function invalid(field: string, wanted: string, received: unknown): InvalidRequestError {
  return new InvalidRequestError(
    `Cannot admit request: ${field} must be ${wanted}, received ${String(received)}`,
    {
      field,
      reason: "invalid_value",
    },
  );
}
