// What llama.cpp's /infill and /completion have in common on the wire: every field but the prompt's, and the reply.
// Fields that only steer llama.cpp's own slots and caches, and samplers that we do not have, are accepted and ignored.
import { z } from "@hono/zod-openapi";
import { modelField } from "./model_field.ts";
import { grammarFields } from "../grammar_fields.ts";
import { infillFields, TRUNCATED } from "../infill_fields.ts";
import { cleanedBy, outputRuleFields } from "../output_rule_fields.ts";
import { cachedCompletion, replyTimings } from "../reply_timings.ts";
import { standingFields, supersededField } from "../standing.ts";
import { stopField } from "../stop_field.ts";
import { healedBytes, healingWithScores, tokenHealingField } from "../token_healing_fields.ts";

/** `[[id, bias], ...]` or `{"id": bias}`; false forbids the token. A text stands for each of its tokens. */
const bias = z.union([z.number(), z.literal(false)]);
const logitBias = z.union([
  z.array(z.tuple([z.union([z.int().min(0), z.string().min(1)]), bias])),
  z.record(z.string().min(1), bias),
], { error: '"logit_bias" must map token ids or texts to numbers or false' });

/** To be spread into a request's schema, to which `checkScores` belongs. */
export const generationFields = {
  model: modelField,
  n_predict: z.int().min(-2).optional().describe(
    "Most new tokens: 0 only reads the prompt, -1 (the default) as many as fit.",
  ),
  max_tokens: z.int().min(-2).optional().describe("Another name of `n_predict`."),
  max_completion_tokens: z.int().min(-2).optional().describe("Another name of `n_predict`."),
  temperature: z.number().default(0.8).describe("0 or less takes the likeliest token."),
  top_k: z.int().default(40).describe("0 or less switches it off."),
  top_p: z.number().default(0.95).describe("Draw from the likeliest tokens that have this share together."),
  min_p: z.number().default(0.05).describe(
    "Draw from tokens with at least this part of the likeliest one's probability.",
  ),
  presence_penalty: z.number().default(0).describe("Taken once from the logits of tokens already generated."),
  frequency_penalty: z.number().default(0).describe("Taken from them for each time they were."),
  samplers: z.array(z.string()).optional().describe(
    "Which samplers apply. Without `temperature` in the list the temperature is 1.",
  ),
  logit_bias: logitBias.optional().describe(
    "Token id, or a text for each of its tokens, to what is added to its logit; `false` forbids it.",
  ),
  stop: stopField("stop").default([]).describe("Ends a completion before this text, or the first of these."),
  seed: z.number().refine(Number.isInteger, '"seed" must be an integer').default(-1).openapi({
    type: "integer",
    format: "int64",
    description: "-1 draws one.",
  }),
  ignore_eos: z.boolean().default(false).describe("Go on past the end of the text."),
  token_healing: tokenHealingField,
  ...grammarFields,
  ...outputRuleFields,
  n_probs: z.int().min(0).max(20).optional().describe("Report this many likely tokens for each token."),
  logprobs: z.int().min(0).max(20).optional().describe("Another name of `n_probs`."),
  n_cmpl: z.int().min(1).max(128).optional().describe("Completions; the reply is an array when above 1."),
  n: z.int().min(1).max(128).optional().describe("Another name of `n_cmpl`."),
  return_tokens: z.boolean().default(false).describe("Report the token ids."),
  response_fields: z.array(z.string()).optional().describe(
    "Only these fields of the reply. `timings/prompt_n` is a flat key of that name.",
  ),
  stream: z.boolean().default(false).describe("Send parts as server-sent events while the text grows."),
  t_max_prompt_ms: z.number().default(-1).describe(
    "Give up on a prompt that takes longer: the reply is empty and its `stop_type` is `limit`. Not applied with " +
      "`n_predict` 0, and looked at between steps. 0 or less switches it off.",
  ),
  t_max_predict_ms: z.number().default(-1).describe(
    "End at the first line break that comes later than this after the first new token. 0 or less switches it off.",
  ),
  ...infillFields,
  cache_prompt: z.boolean().optional().describe(
    "false takes nothing from the prefix cache and earlier completions, and leaves nothing in either.",
  ),
  cache_salt: z.string().max(1024).optional().describe(
    "Extension: cached tokens are shared only with requests that send the same.",
  ),
  speculation: z.boolean().optional().describe(
    "Extension: false draws a token a step, without drafts. The tokens are the same.",
  ),
  ...standingFields,
  id_slot: z.int().optional().describe("Accepted; it chooses no slot."),
  post_sampling_probs: z.literal(false, {
    error: '"post_sampling_probs" must be false: probabilities are those before sampling',
  }).optional().describe("Only false: probabilities are those before sampling."),
};

export type GenerationBody = z.output<z.ZodObject<typeof generationFields>>;

export function checkScores(
  { token_healing, n_probs, logprobs }: GenerationBody,
  context: z.RefinementCtx,
): void {
  if (!token_healing || !(n_probs ?? logprobs)) return;
  const message = healingWithScores(n_probs === undefined ? "logprobs" : "n_probs");
  context.addIssue({ code: "custom", path: ["token_healing"], message });
}

const likelyToken = z.object({
  id: z.int(),
  token: z.string(),
  bytes: z.array(z.int()),
  logprob: z.number(),
});
const tokenProbability = likelyToken.extend({ top_logprobs: z.array(likelyToken) });

export const nativeReply = z.object({
  index: z.int(),
  content: z.string(),
  tokens: z.array(z.int()).describe("With `return_tokens`."),
  id_slot: z.int(),
  stop: z.literal(true),
  model: z.string(),
  tokens_predicted: z.int(),
  tokens_evaluated: z.int(),
  generation_settings: z.looseObject({ n_ctx: z.int() }),
  prompt: z.string(),
  has_new_line: z.boolean(),
  truncated: z.boolean().describe(TRUNCATED),
  fim_layout: z.enum(["psm", "spm"]).optional().describe("Extension: the layout used."),
  superseded: supersededField,
  stop_type: z.enum(["none", "eos", "limit", "word"]).describe(
    "`eos`: the model ended. `word`: at `stop`. `limit`: at `n_predict`, the context or a time limit, where an output " +
      "rule ended the text, or superseded. A completion that is typed as it was given repeats what was said first.",
  ),
  stopping_word: z.string(),
  cleaned: cleanedBy,
  healed: healedBytes,
  cached_completion: cachedCompletion,
  tokens_cached: z.int().describe(
    "Tokens of the prompt and the completion, but for the last drawn: what the cache has of them.",
  ),
  timings: replyTimings,
  completion_probabilities: z.array(tokenProbability).optional(),
}).openapi("NativeCompletion");

export type NativeReply = z.output<typeof nativeReply>;
export type TokenProbability = z.output<typeof tokenProbability>;
