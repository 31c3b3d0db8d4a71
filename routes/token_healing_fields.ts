// The request field by which a client switches token healing, and the reply's that tells of it, the same in every dialect.
import { z } from "@hono/zod-openapi";

export const tokenHealingField = z.boolean().optional().describe(
  "Extension: where the text before the cursor ends within what the model knows as a longer token, take that end back " +
    "and let the first new tokens spell it again, within whatever they become; the completion begins after what was " +
    "typed as ever. Absent: as the server was started, or else done to prompts that are continued, and to infills if " +
    "the model is the better for it. Without effect on token ids, beside a grammar, and where no new tokens are asked " +
    "for; never done to requests with log-probabilities, and true is refused with them.",
);

/** Why `token_healing` cannot be true beside the dialect's field for log-probabilities. */
export function healingWithScores(field: string): string {
  return `"token_healing" cannot be combined with "${field}", which shows whole tokens: leave one out`;
}

export const healedBytes = z.int().optional().describe(
  "Extension: bytes of the prompt's end that were taken back and spelled anew by the first new tokens; absent when " +
    "none were. Tokens that spelled nothing else are not counted, and not shown.",
);
