// How long a completion took, as llama.cpp's `timings` tell it; on every dialect's replies.
import { z } from "@hono/zod-openapi";
import type { GenerationTimings } from "../engine/request.ts";

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
}).openapi("Timings");

export type ReplyTimings = z.output<typeof replyTimings>;

type Times = Pick<GenerationTimings, "promptMs" | "predictedMs">;

export function toReplyTimings(promptTokens: number, predictedTokens: number, times: Times): ReplyTimings {
  const { promptMs, predictedMs } = times;
  return {
    cache_n: 0,
    prompt_n: promptTokens,
    prompt_ms: promptMs,
    prompt_per_token_ms: ratio(promptMs, promptTokens),
    prompt_per_second: ratio(promptTokens * 1000, promptMs),
    predicted_n: predictedTokens,
    predicted_ms: predictedMs,
    predicted_per_token_ms: ratio(predictedMs, predictedTokens),
    predicted_per_second: ratio(predictedTokens * 1000, predictedMs),
  };
}

/** 0 instead of what JSON cannot write. */
function ratio(amount: number, per: number): number {
  return per > 0 ? amount / per : 0;
}
