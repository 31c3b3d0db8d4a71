// How long a completion took, as llama.cpp's `timings` tell it; on every dialect's replies.
import { z } from "@hono/zod-openapi";
import type { DraftCounts, GenerationTimings } from "../engine/request.ts";

export const replyTimings = z.object({
  cache_n: z.int().describe("Prompt tokens found in the cache."),
  prompt_n: z.int().describe("Prompt tokens computed."),
  prompt_ms: z.number(),
  prompt_per_token_ms: z.number(),
  prompt_per_second: z.number(),
  predicted_n: z.int().describe("New tokens."),
  predicted_ms: z.number().describe("From the first new token to the last."),
  predicted_per_token_ms: z.number(),
  predicted_per_second: z.number(),
  draft_n: z.int().optional().describe("Drafted tokens; absent when there were none."),
  draft_n_accepted: z.int().optional().describe("Those of them that were right."),
}).openapi("Timings");

/** Of a reply, or one of its choices. */
export const cachedCompletion = z.boolean().optional().describe(
  "Extension: true when the text is what an earlier completion has left after what was typed since: the model was not " +
    "asked, and all tokens of the prompt count as cached. Absent otherwise.",
);

export type ReplyTimings = z.output<typeof replyTimings>;

/** What a finish event says of a completion. */
export interface Finished {
  readonly completionTokens: number;
  /** Prompt tokens that the cache had. */
  readonly cachedTokens?: number;
  readonly timings: Pick<GenerationTimings, "promptMs" | "predictedMs">;
  readonly drafts?: DraftCounts | undefined;
}

export function toReplyTimings(
  promptTokens: number,
  { completionTokens, cachedTokens = 0, timings, drafts }: Finished,
): ReplyTimings {
  const { promptMs, predictedMs } = timings;
  const computedTokens = promptTokens - cachedTokens;
  return {
    cache_n: cachedTokens,
    prompt_n: computedTokens,
    prompt_ms: promptMs,
    prompt_per_token_ms: ratio(promptMs, computedTokens),
    prompt_per_second: ratio(computedTokens * 1000, promptMs),
    predicted_n: completionTokens,
    predicted_ms: predictedMs,
    predicted_per_token_ms: ratio(predictedMs, completionTokens),
    predicted_per_second: ratio(completionTokens * 1000, predictedMs),
    ...(drafts && { draft_n: drafts.drafted, draft_n_accepted: drafts.accepted }),
  };
}

/** 0 instead of what JSON cannot write. */
function ratio(amount: number, per: number): number {
  return per > 0 ? amount / per : 0;
}
