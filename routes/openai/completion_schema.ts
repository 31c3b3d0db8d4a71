// The wire form of POST /v1/completions as OpenAI defines it, with the extensions that users of vLLM and llama.cpp
// send. Validation and the OpenAPI document both come from here.
import { z } from "@hono/zod-openapi";
import { DEFAULT_MAX_WAITING } from "../../engine/engine_options.ts";
import { grammarFields } from "../grammar_fields.ts";
import { filenameField, infillFields, TRUNCATED } from "../infill_fields.ts";
import {
  cleanedBy,
  firstOutputRule,
  type OutputRuleFields,
  outputRuleFields,
} from "../output_rule_fields.ts";
import { describePrompt, isTokenId } from "../prompt_items.ts";
import { cachedCompletion, replyTimings } from "../reply_timings.ts";
import { standingFields, supersededField } from "../standing.ts";
import { stopField } from "../stop_field.ts";
import { healedBytes, healingWithScores, tokenHealingField } from "../token_healing_fields.ts";

/** Text, several texts, token ids, or several lists of token ids. */
export type CompletionPrompt = string | string[] | number[] | number[][];

/** Bounds of a signed 64-bit integer; JSON numbers beyond 2^53 arrive rounded. */
const INT64_MAX = 2 ** 63;

const PROMPT_FORMS =
  '"prompt" must be a string, an array of strings, an array of token ids or an array of such arrays';

/**
 * A check of our own in place of a union of arrays: a union tries every member on every item, and a prompt may have
 * hundreds of thousands.
 */
const prompt = z.custom<CompletionPrompt>(isPrompt, {
  error: ({ input }) =>
    input === undefined
      ? '"prompt" is required'
      : `${PROMPT_FORMS}, received ${describePrompt(input, itemLike(input))}`,
}).openapi({
  type: ["string", "array"],
  anyOf: [
    { type: "string" },
    { type: "array", items: { type: "string" }, minItems: 1, maxItems: DEFAULT_MAX_WAITING },
    { type: "array", items: { type: "integer", minimum: 0 }, minItems: 1 },
    {
      type: "array",
      items: { type: "array", items: { type: "integer", minimum: 0 }, minItems: 1 },
      minItems: 1,
      maxItems: DEFAULT_MAX_WAITING,
    },
  ],
  description: "What to continue. Special tokens in a text are parsed unless `suffix` is given.",
});

function isPrompt(value: unknown): value is CompletionPrompt {
  if (typeof value === "string") return true;
  return Array.isArray(value) && value.length > 0 && value.every(itemLike(value));
}

/** Every prompt takes its own copy of what all share. */
const MOST_SHARED_CHARACTERS = 2 ** 23;

function sharedCharacters({ suffix = "", extra = [], stop = [] }: Combination): number {
  const texts = [suffix, ...extra.map(({ text }) => text), ...[stop].flat()];
  return texts.reduce((sum, text) => sum + text.length, 0);
}

/** What the items of a prompt have to be, by the first of them. */
function itemLike(value: unknown): (item: unknown) => boolean {
  const first = Array.isArray(value) ? value[0] : undefined;
  if (typeof first === "number") return isTokenId;
  if (typeof first === "string") return (item) => typeof item === "string";
  return (item) => Array.isArray(item) && item.length > 0 && item.every(isTokenId);
}

const CHUNK_FORM = '"extra" must hold objects with a "text", and a "filename" where there is one';
const otherFile = z.object({
  text: z.string({ error: CHUNK_FORM }),
  filename: z.string({ error: CHUNK_FORM }).nullish(),
}, { error: CHUNK_FORM });

const logitBias = z.record(z.string().regex(/^\d{1,10}$/), z.number().min(-100).max(100), {
  error: (issue) => issue.code === "invalid_key" ? '"logit_bias" must have token ids for keys' : undefined,
});

const streamOptions = z.object({
  include_usage: z.boolean().optional().describe("Send a last chunk with the token counts."),
  include_obfuscation: z.boolean().optional().describe("Accepted and ignored."),
});

/** @param name the client's for it */
export function seedField(name: string) {
  return z.number().min(-INT64_MAX).max(INT64_MAX).refine(Number.isInteger, `"${name}" must be an integer`)
    .optional().openapi({ type: "integer", format: "int64" });
}

export const completionRequest = z.object({
  model: z.string().optional().describe("The served model's id; empty or absent is that model too."),
  prompt,
  suffix: z.string().optional().describe(
    "Text after the hole: the completion is the middle between `prompt` and `suffix`.",
  ),
  ...infillFields,
  extra: z.array(otherFile).optional().describe(
    "Extension: chunks of other files, oldest first, as llama.cpp's `input_extra`; shown to the model in the form it was " +
      "trained with. Needs `suffix`, which may be empty.",
  ),
  filename: filenameField,
  max_tokens: z.int().min(0).default(16).describe("Most new tokens; 0 only reads (and scores) the prompt."),
  temperature: z.number().min(0).max(2).default(1).describe("0 takes the likeliest token."),
  top_p: z.number().min(0).max(1).default(1).describe(
    "Draw from the likeliest tokens that have this share together.",
  ),
  top_k: z.int().min(-1).optional().describe("Extension: 0 and -1 switch it off."),
  min_p: z.number().min(0).max(1).optional().describe(
    "Extension: draw from tokens with at least this part of the likeliest one's probability.",
  ),
  n: z.int().min(1).max(128).default(1).describe("Completions drawn for each prompt."),
  best_of: z.int().min(0).max(20).optional().describe(
    "Draw as many for each prompt and send the `n` with the highest mean log-probability a token. Not with `stream`.",
  ),
  stop: stopField("stop").optional().describe("Ends a completion before this text, or the first of these."),
  seed: seedField("seed").describe("Same seed and request: same completion. Absent: drawn."),
  stream: z.boolean().default(false).describe("Send the completion as server-sent events while it grows."),
  stream_options: streamOptions.optional().describe("Only with `stream`."),
  echo: z.boolean().default(false).describe("Put the prompt before the completion. Not with `suffix`."),
  logprobs: z.int().min(0).max(20).optional().describe("Log-probabilities, and this many alternatives."),
  presence_penalty: z.number().min(-2).max(2).default(0).describe(
    "Taken once from the logits of tokens already generated.",
  ),
  frequency_penalty: z.number().min(-2).max(2).default(0).describe(
    "Taken from them for each time they were.",
  ),
  logit_bias: logitBias.optional().describe("Token id to what is added to its logit, -100 to 100."),
  cache_prompt: z.boolean().optional().describe(
    "Extension: false takes nothing from the prefix cache and earlier completions, and leaves nothing in either.",
  ),
  cache_salt: z.string().max(1024).optional().describe(
    "Extension: cached tokens are shared only with requests that send the same.",
  ),
  ignore_eos: z.boolean().default(false).describe("Extension: go on past the end of the text."),
  token_healing: tokenHealingField,
  ...grammarFields,
  speculation: z.boolean().optional().describe(
    "Extension: false draws a token a step, without drafts. The tokens are the same.",
  ),
  ...outputRuleFields,
  ...standingFields,
  user: z.string().optional().describe("Accepted and ignored."),
}).superRefine(checkTogether).openapi("CompletionRequest");

interface Combination extends OutputRuleFields {
  readonly n: number;
  readonly max_tokens: number;
  readonly best_of?: number | undefined;
  readonly stream: boolean;
  readonly stream_options?: object | undefined;
  readonly echo: boolean;
  readonly logprobs?: number | undefined;
  readonly suffix?: string | undefined;
  readonly extra?: readonly { readonly text: string }[] | undefined;
  readonly stop?: string | readonly string[] | undefined;
  readonly filename?: string | undefined;
  readonly prompt: CompletionPrompt;
  readonly token_healing?: boolean | undefined;
}

/** What each field allows alone and not together with another. */
function checkTogether(body: Combination, context: z.RefinementCtx): void {
  function reject(field: string, message: string): void {
    context.addIssue({ code: "custom", path: [field], message });
  }
  if (body.best_of !== undefined && body.best_of < body.n) {
    reject("best_of", `"best_of" must be at least "n" (${body.n}), received ${body.best_of}`);
  } else if (choosesBest(body) && body.stream) {
    reject(
      "best_of",
      '"best_of" above "n" cannot be combined with "stream": nothing is known to be best before all have ended',
    );
  }
  if (body.stream_options && !body.stream) {
    reject("stream_options", '"stream_options" is only allowed when "stream" is true');
  }
  const completions = numPrompts(body.prompt) * (body.max_tokens === 0 ? 1 : samplesDrawn(body));
  if (completions > DEFAULT_MAX_WAITING) {
    reject(
      "prompt",
      `"prompt" and "n" must ask for at most ${DEFAULT_MAX_WAITING} completions together, received ${completions}: ` +
        "send several requests",
    );
  }
  const shared = sharedCharacters(body), mostPrompts = Math.floor(MOST_SHARED_CHARACTERS / shared);
  if (numPrompts(body.prompt) > Math.max(1, mostPrompts)) {
    reject(
      "prompt",
      `"prompt" must have at most ${
        Math.max(1, mostPrompts)
      } items beside ${shared} characters in "suffix", "extra" ` +
        `and "stop", received ${numPrompts(body.prompt)}: send several requests`,
    );
  }
  if (body.token_healing && body.logprobs !== undefined) {
    reject("token_healing", healingWithScores("logprobs"));
  }
  const rule = firstOutputRule(body), raw = body.echo ? "echo" : "logprobs";
  if (rule && (body.echo || body.logprobs !== undefined)) {
    reject(
      rule,
      `"${rule}" cannot be combined with "${raw}", which shows the text as it was drawn: leave one out`,
    );
  }
  if (body.suffix === undefined) {
    for (const field of ["extra", "filename"] as const) {
      if (body[field] === undefined) continue;
      reject(field, `"${field}" needs "suffix": send "" where nothing follows the cursor`);
    }
    return;
  }
  if (body.echo) reject("echo", '"echo" cannot be combined with "suffix"');
  if (!isText(body.prompt)) reject("prompt", '"prompt" must be text when "suffix" is given, not token ids');
}

interface SampleCounts {
  readonly n: number;
  readonly max_tokens: number;
  readonly best_of?: number | undefined;
}

/** How many completions are drawn for each prompt. Without new tokens there is nothing to choose by. */
export function samplesDrawn({ n, max_tokens, best_of = n }: SampleCounts): number {
  return max_tokens === 0 ? n : Math.max(n, best_of);
}

/** Whether more are drawn than are sent. */
export function choosesBest(counts: SampleCounts): boolean {
  return samplesDrawn(counts) > counts.n;
}

function numPrompts(value: CompletionPrompt): number {
  return typeof value === "string" || typeof value[0] === "number" ? 1 : value.length;
}

function isText(value: CompletionPrompt): value is string | string[] {
  return typeof value === "string" || typeof value[0] === "string";
}

export type CompletionRequest = z.output<typeof completionRequest>;

const logprobs = z.object({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
  text_offset: z.array(z.int()).describe("In characters (code points) of the choice's text."),
}).openapi("CompletionLogprobs");

const choice = z.object({
  text: z.string(),
  index: z.int().describe("prompt * n + sample"),
  logprobs: logprobs.nullable(),
  finish_reason: z.enum(["stop", "length"]).nullable().describe("null in a stream until the choice ends."),
  fim_layout: z.enum(["psm", "spm"]).optional().describe("Extension: the layout used, once the choice ends."),
  truncated: z.literal(true).optional().describe(`Extension, once the choice ends. ${TRUNCATED}`),
  cleaned: cleanedBy,
  healed: healedBytes,
  cached_completion: cachedCompletion,
  superseded: supersededField,
}).openapi("CompletionChoice");

export const completionUsage = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  prompt_tokens_details: z.object({
    cached_tokens: z.int().describe("Prompt tokens that were in the cache already."),
  }),
  completion_tokens_details: z.object({
    accepted_prediction_tokens: z.int().describe(
      "Drafted tokens that were right; they are in `completion_tokens`.",
    ),
    rejected_prediction_tokens: z.int().describe("Drafted tokens that were not; they are in no count."),
  }).optional().describe("Absent when nothing was drafted."),
}).openapi("CompletionUsage");

/** The reply, and every chunk of a stream. */
export const completionReply = z.object({
  id: z.string(),
  object: z.literal("text_completion"),
  created: z.int().describe("Unix time in seconds."),
  model: z.string(),
  system_fingerprint: z.string().describe("Same fingerprint, seed and request: same completion."),
  choices: z.array(choice),
  usage: completionUsage.nullable().optional(),
  timings: replyTimings.optional().describe(
    "Extension, as llama.cpp has it. Several completions side by side: tokens of all, times of the slowest. In a " +
      "stream, of the choice that ends with this chunk.",
  ),
}).openapi("Completion");

export type CompletionReply = z.output<typeof completionReply>;
export type CompletionChoice = z.output<typeof choice>;
export type CompletionLogprobs = z.output<typeof logprobs>;
export type CompletionUsage = z.output<typeof completionUsage>;
