// What every dialect says of infills in the same words: the layout that a request may ask for, other files, and a prompt
// that was cut.
import { z } from "@hono/zod-openapi";
import type { Prompt } from "../engine/request.ts";

/** Chunks of other files, oldest first, as the engine has them. */
export type OtherFiles = NonNullable<Extract<Prompt, { kind: "infill" }>["extra"]>;

export const filenameField = z.string().max(4096).optional().describe(
  "Extension: path of the file being completed, shown to the model where it was trained with paths.",
);

/** To be spread into a request's schema. */
export const infillFields = {
  fim_layout: z.enum(["psm", "spm"]).optional().describe(
    "Extension: order of prefix and suffix in the model's prompt. Absent: the server's, by default that in which " +
      "fewest tokens have yet to be computed.",
  ),
};

/** Of a reply's `truncated`. */
export const TRUNCATED =
  "The infill's prompt was cut: as a rule to the server's `--infill-context` and `--infill-suffix`, which on the CPU are 1024 " +
  "tokens and 128 of them after the cursor, whatever the model's context, or else to that context. The count of the " +
  "prompt's tokens is of what is left. Prompts that are continued are refused when they are too long, not cut.";
