// The wire form of TGI's /generate, /generate_stream and /: one request for all three. Penalties and samplers that we do
// not have, adapters and watermarks are accepted and ignored.
import { z } from "@hono/zod-openapi";
import { healingWithScores, tokenHealingField } from "../token_healing_fields.ts";
import { outputRuleFields } from "../output_rule_fields.ts";
import { standingFields } from "../standing.ts";

export const MAX_STOP_SEQUENCES = 4;
export const MAX_BEST_OF = 8;
const MAX_TOP_TOKENS = 5;
/** Ids run up to 2^64; JSON numbers beyond 2^53 arrive rounded. */
const MAX_SEED = 2 ** 64;

const grammar = z.object({
  type: z.enum(["json", "regex", "json_schema"]),
  value: z.unknown().describe(
    "A JSON schema; with `regex` a regular expression; with `json_schema` `{name, schema}`.",
  ),
}).openapi("TgiGrammar");

const above0 = (name: string) => z.number().positive(`"parameters.${name}" must be more than 0`);

const parameters = z.object({
  max_new_tokens: z.int().min(0).optional().describe(
    "Most new tokens; absent: as many as fit. 0 only reads.",
  ),
  temperature: above0("temperature").optional().describe("Absent: 1. Any but 1 makes the completion drawn."),
  top_k: z.int().positive().optional(),
  top_p: z.number().gt(0).lt(1).optional(),
  typical_p: z.number().gt(0).lt(1).optional().describe("Has the completion drawn, and no other effect."),
  do_sample: z.boolean().default(false).describe(
    "Draw; else the likeliest tokens, unless a sampling field is set.",
  ),
  best_of: z.int().min(1).max(MAX_BEST_OF).optional().describe(
    "Draw as many and reply with that of the highest mean log-probability. Not in streams, nor with `seed`.",
  ),
  repetition_penalty: above0("repetition_penalty").optional().describe("Accepted and ignored."),
  frequency_penalty: z.number().min(-2).max(2).optional(),
  seed: z.number().min(0).max(MAX_SEED).refine(Number.isInteger, '"parameters.seed" must be an integer')
    .optional(),
  stop: z.array(z.string()).max(MAX_STOP_SEQUENCES).default([]).describe(
    "Ends the text before the first of these.",
  ),
  truncate: z.int().min(1).optional().describe("Keep this many tokens of the inputs, the last."),
  return_full_text: z.boolean().default(false).describe("Begin `generated_text` with the inputs."),
  details: z.boolean().default(false).describe(
    "Say how it ended, with all tokens and their log-probabilities.",
  ),
  decoder_input_details: z.boolean().default(false).describe(
    "In `details`: the inputs' tokens, too. Not in streams.",
  ),
  top_n_tokens: z.int().min(1).max(MAX_TOP_TOKENS).optional().describe("Likeliest tokens for each token."),
  grammar: grammar.optional(),
  watermark: z.boolean().optional().describe("Accepted and ignored."),
  adapter_id: z.string().optional().describe("Accepted and ignored."),
  token_healing: tokenHealingField,
  ...outputRuleFields,
  ...standingFields,
  cache_salt: z.string().max(1024).optional().describe(
    "Extension: cached tokens are shared only with requests that send the same.",
  ),
}).openapi("TgiParameters");

export type TgiParameters = z.output<typeof parameters>;

export const tgiRequest = z.object({
  inputs: z.string().min(1, '"inputs" must not be empty').describe(
    "What to continue; special tokens are parsed.",
  ),
  parameters: parameters.prefault({}),
  stream: z.boolean().default(false).describe("On / alone; the other routes say it by their names."),
}).superRefine(checkTogether).openapi("TgiRequest");

export type TgiRequest = z.output<typeof tgiRequest>;

/** TGI's rule: greedy unless told, or steered away from it. */
export function isDrawn({ do_sample, temperature, top_k, top_p, typical_p }: TgiParameters): boolean {
  return do_sample || (temperature !== undefined && temperature !== 1) ||
    [top_k, top_p, typical_p].some((value) => value !== undefined);
}

function checkTogether({ parameters }: { parameters: TgiParameters }, context: z.RefinementCtx): void {
  function reject(field: string, message: string): void {
    context.addIssue({
      code: "custom",
      path: ["parameters", field],
      message: `"parameters.${field}" ${message}`,
    });
  }
  const { best_of = 1, seed, token_healing, details, top_n_tokens } = parameters;
  if (best_of > 1 && !isDrawn(parameters) && parameters.temperature === undefined) {
    reject("best_of", "above 1 needs sampling: set do_sample");
  }
  if (best_of > 1 && seed !== undefined) {
    reject("best_of", "above 1 cannot be combined with a seed: leave one out");
  }
  if (!token_healing || !(details || top_n_tokens)) return;
  const scores = details ? "details" : "top_n_tokens";
  context.addIssue({
    code: "custom",
    path: ["parameters", "token_healing"],
    message: healingWithScores(scores),
  });
}

export const tgiError = z.object({
  error: z.string(),
  error_type: z.enum(["validation", "overloaded", "incomplete_generation", "unhealthy"]),
}).openapi("TgiError");

const prefillToken = z.object({ id: z.int(), text: z.string(), logprob: z.number().nullable() });
const token = z.object({
  id: z.int(),
  text: z.string(),
  logprob: z.number().nullable().describe("null in a stream without `details` and `top_n_tokens`."),
  special: z.boolean(),
});
const FINISH_REASONS = ["length", "eos_token", "stop_sequence"] as const;
export type TgiFinishReason = typeof FINISH_REASONS[number];

const sequence = z.object({
  finish_reason: z.enum(FINISH_REASONS),
  generated_tokens: z.int(),
  seed: z.int().nullable(),
  prefill: z.array(prefillToken),
  tokens: z.array(token),
  top_tokens: z.array(z.array(token)).optional(),
});
const details = sequence.extend({
  best_of_sequences: z.array(sequence.extend({ generated_text: z.string() })).optional(),
}).openapi("TgiDetails");

export const tgiReply = z.object({ generated_text: z.string(), details: details.optional() }).openapi(
  "TgiReply",
);
export type TgiReply = z.output<typeof tgiReply>;
export type TgiSequence = z.output<typeof sequence>;
export type TgiToken = z.output<typeof token>;
export type TgiPrefillToken = z.output<typeof prefillToken>;

export const tgiStreamEvent = z.object({
  index: z.int(),
  token,
  top_tokens: z.array(token).optional(),
  generated_text: z.string().nullable().describe("In the last event."),
  details: z.object({
    finish_reason: z.enum(FINISH_REASONS),
    generated_tokens: z.int(),
    seed: z.int().nullable(),
    input_length: z.int(),
  }).nullable().describe("In the last event."),
}).openapi("TgiStreamEvent");
export type TgiStreamEvent = z.output<typeof tgiStreamEvent>;
