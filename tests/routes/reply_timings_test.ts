import assert from "node:assert/strict";
import { toReplyTimings } from "../../routes/reply_timings.ts";

Deno.test("toReplyTimings() counts cached tokens apart: rates are of what was computed", () => {
  const timings = { promptMs: 20, predictedMs: 50 };
  assert.deepEqual(toReplyTimings(12, { completionTokens: 5, cachedTokens: 8, timings }), {
    cache_n: 8,
    prompt_n: 4,
    prompt_ms: 20,
    prompt_per_token_ms: 5,
    prompt_per_second: 200,
    predicted_n: 5,
    predicted_ms: 50,
    predicted_per_token_ms: 10,
    predicted_per_second: 100,
  });
});

Deno.test("toReplyTimings() tells of drafts where there were any, by llama.cpp's names", () => {
  const timings = { promptMs: 20, predictedMs: 50 };
  const { draft_n, draft_n_accepted } = toReplyTimings(12, {
    ...{ completionTokens: 5, timings },
    drafts: { drafted: 7, accepted: 3 },
  });
  assert.deepEqual([draft_n, draft_n_accepted], [7, 3]);
});

Deno.test("toReplyTimings() writes 0 where there is nothing to divide by", () => {
  const none = toReplyTimings(0, { completionTokens: 0, timings: { promptMs: 0, predictedMs: 0 } });
  assert.deepEqual(new Set(Object.values(none)), new Set([0]));
});
