// The wire form of Ollama's POST /api/generate. Options that only steer Ollama's runner, and samplers that we do not
// have, are accepted and ignored.
import { z } from "@hono/zod-openapi";
import { describePrompt, isTokenId } from "../prompt_items.ts";
import { outputRuleFields } from "../output_rule_fields.ts";
import { standingFields } from "../standing.ts";
import { stopField } from "../stop_field.ts";
import { healingWithScores, tokenHealingField } from "../token_healing_fields.ts";

const options = z.object({
  num_predict: z.int().min(-2).default(-1).describe(
    "Most new tokens: 0 only reads the prompt, -1 as many as fit.",
  ),
  temperature: z.number().default(0.8).describe("0 or less takes the likeliest token."),
  top_k: z.int().default(40).describe("0 or less switches it off."),
  top_p: z.number().default(0.9),
  min_p: z.number().default(0),
  presence_penalty: z.number().default(0),
  frequency_penalty: z.number().default(0),
  seed: z.number().refine(Number.isInteger, '"options.seed" must be an integer').default(-1).describe(
    "-1 draws one.",
  ),
  stop: stopField("options.stop").default([]).describe(
    "Ends a completion before this text, or the first of these.",
  ),
  num_ctx: z.int().optional().describe("Accepted and ignored: the context is the model's."),
}).openapi("OllamaOptions");

export type OllamaOptions = z.output<typeof options>;

/** A check of our own in place of an array of integers, which would report every wrong item. */
const context = z.custom<number[]>(
  (value) => Array.isArray(value) && value.every(isTokenId),
  {
    error: ({ input }) =>
      `"context" must be an array of token ids, received ${describePrompt(input, isTokenId)}`,
  },
).optional().openapi({
  type: "array",
  items: { type: "integer", minimum: 0 },
  description: "Tokens that stand before the prompt: what an earlier reply's `context` says.",
});

export const generateRequest = z.object({
  model: z.string().default("").describe(
    "The served model's id, with or without `:latest`; empty is that model too.",
  ),
  prompt: z.string().default("").describe(
    "What to continue; special tokens are parsed. Empty, without `suffix`: nothing is generated.",
  ),
  suffix: z.string().default("").describe(
    "Text after the hole: the completion is the middle between `prompt` and this.",
  ),
  stream: z.boolean().default(true).describe("Send a line of JSON for each part, or one object."),
  raw: z.boolean().default(false).describe("The prompt is not laid out; it never is, but with `suffix`."),
  format: z.union([z.string(), z.record(z.string(), z.unknown())], {
    error: '"format" must be "json" or a JSON schema',
  }).optional().describe('"json", or a JSON schema that the completion must follow.'),
  options: options.prefault({}),
  context,
  system: z.string().default("").describe("Accepted and ignored: models here have no system text."),
  template: z.string().default("").describe("Only what /api/show says, which is applied anyway."),
  images: z.array(z.unknown()).max(0, '"images" must be empty: the model reads text only').optional()
    .describe("Only none."),
  think: z.union([z.boolean(), z.string()]).optional().describe("Only false."),
  truncate: z.boolean().default(true).describe(
    "Cut a prompt that is too long to its end; false: answer 400.",
  ),
  logprobs: z.boolean().default(false).describe("Send each token's log-probability."),
  top_logprobs: z.int().min(0).max(20).default(0).describe(
    "With `logprobs`: this many likely tokens for each.",
  ),
  keep_alive: z.union([z.string(), z.number()], {
    error: '"keep_alive" must be a string or a number',
  }).optional().describe("Accepted and ignored: the model stays."),
  token_healing: tokenHealingField,
  ...outputRuleFields,
  ...standingFields,
  cache_salt: z.string().max(1024).optional().describe(
    "Extension: cached tokens are shared only with requests that send the same.",
  ),
}).superRefine(checkTogether).openapi("OllamaGenerateRequest");

export type GenerateRequest = z.output<typeof generateRequest>;

interface Combination {
  readonly raw: boolean;
  readonly system: string;
  readonly template: string;
  readonly suffix: string;
  readonly context?: readonly number[] | undefined;
  readonly think?: boolean | string | undefined;
  readonly logprobs: boolean;
  readonly token_healing?: boolean | undefined;
}

function checkTogether(body: Combination, refinement: z.RefinementCtx): void {
  const reject = (field: string, message: string) =>
    refinement.addIssue({ code: "custom", path: [field], message });
  if (body.raw && (body.system || body.template || body.context?.length)) {
    reject("raw", "raw mode does not support template, system, or context");
  }
  if (body.suffix && body.context?.length) reject("context", '"context" cannot be combined with "suffix"');
  if (body.think) reject("think", '"think" must be false: the model does not support thinking');
  if (body.token_healing && body.logprobs) reject("token_healing", healingWithScores("logprobs"));
}

const likelyToken = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int()) });
const logprob = likelyToken.extend({ top_logprobs: z.array(likelyToken).optional() });
export type OllamaLogprob = z.output<typeof logprob>;

/** Each line of a stream, and the whole reply; what stands last is in the last one alone. */
export const generateReply = z.object({
  model: z.string(),
  created_at: z.iso.datetime(),
  response: z.string(),
  done: z.boolean(),
  logprobs: z.array(logprob).optional(),
  done_reason: z.enum(["stop", "length", "load", "unload"]).optional(),
  context: z.array(z.int()).optional().describe("Prompt and completion as tokens; not with `raw`."),
  total_duration: z.int().optional().describe("Nanoseconds, as all durations."),
  load_duration: z.int().optional(),
  prompt_eval_count: z.int().optional(),
  prompt_eval_duration: z.int().optional(),
  eval_count: z.int().optional(),
  eval_duration: z.int().optional(),
}).openapi("OllamaGenerateReply");

export type GenerateReply = z.output<typeof generateReply>;
