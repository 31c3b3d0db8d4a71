// The request fields by which a client has its completion cleaned, the same in every dialect, and their way into the
// engine's words.
import { z } from "@hono/zod-openapi";
import { anyRule, CODE_RULES, NO_RULES, type OutputRules, SCOPES } from "../engine/output_rules.ts";
import { defined } from "./defined.ts";

/** To be spread into a request's schema. */
export const outputRuleFields = {
  clean: z.union([z.boolean(), z.literal("code")], { error: '"clean" must be true, false or "code"' })
    .optional()
    .describe(
      'Extension: true or "code" has the completion cleaned by all the rules below (`scope` is "auto"), false by ' +
        "none; fields that name a rule go before this one. Absent: as the server was started, by default none.",
    ),
  scope: z.enum(SCOPES).optional().describe(
    "Extension: how far the completion reaches: to the end of the `line`, of the `block` (the first line indented " +
      "less than that at the cursor ends it, or no deeper where that one opens a block), or, with `auto`, of the line where code stands right of the cursor " +
      "and else of the block.",
  ),
  trim_suffix: z.boolean().optional().describe(
    "Extension: cut an end of the completion that stands right of the cursor already.",
  ),
  trim_repeats: z.boolean().optional().describe(
    "Extension: end where the completion repeats the lines after the cursor, or a block of its own for the third " +
      "time.",
  ),
  trim_blanks: z.boolean().optional().describe("Extension: cut blanks and line breaks from the end."),
  keep_crlf: z.boolean().optional().describe(
    "Extension: a file whose lines end with CRLF is shown to the model without CRs, and its completion gets them.",
  ),
  n_indent: z.int().optional().describe(
    "As llama.cpp has it: past the first line, end before the text of a line with fewer blanks than this in front " +
      "of it. 0 or less switches it off.",
  ),
};

export type OutputRuleFields = z.output<z.ZodObject<typeof outputRuleFields>>;

/** Undefined when none of the fields is there. */
export function toOutputRules(fields: OutputRuleFields): OutputRules | undefined {
  const rules = {
    ...(fields.clean !== undefined && (fields.clean ? CODE_RULES : NO_RULES)),
    ...defined<OutputRules>({
      scope: fields.scope,
      minIndent: fields.n_indent === undefined ? undefined : Math.max(0, fields.n_indent),
      trimSuffix: fields.trim_suffix,
      trimRepeats: fields.trim_repeats,
      trimBlanks: fields.trim_blanks,
      keepCrlf: fields.keep_crlf,
    }),
  };
  return Object.keys(rules).length > 0 ? rules : undefined;
}

/** The first field that asks for a rule; undefined when none does. */
export function firstOutputRule(fields: OutputRuleFields): string | undefined {
  const names = Object.keys(outputRuleFields) as (keyof OutputRuleFields)[];
  return names.find((name) => anyRule(toOutputRules({ [name]: fields[name] }) ?? {}));
}

/** Of a reply. */
export const cleanedBy = z.array(z.string()).optional().describe(
  "Extension: the rules that changed the text, by the fields that ask for them; absent when none did. What they cut " +
    "is counted among the tokens.",
);
