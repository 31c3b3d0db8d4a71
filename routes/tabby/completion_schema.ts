// The wire form of Tabby's POST /v1/completions, which has OpenAI's path: a body with `segments`, or with a raw prompt
// for debugging, is Tabby's.
import { z } from "@hono/zod-openapi";
import { outputRuleFields } from "../output_rule_fields.ts";
import { standingFields } from "../standing.ts";

const declaration = z.object({ filepath: z.string(), body: z.string() });
const snippet = declaration.extend({ score: z.number() });
export type TabbySnippet = z.output<typeof snippet>;

const segments = z.object({
  prefix: z.string().describe("Text before the cursor."),
  suffix: z.string().default("").describe("Text after the cursor; empty is a line break."),
  filepath: z.string().max(4096).optional().describe("Of the file being edited."),
  git_url: z.string().optional().describe("Accepted and ignored."),
  declarations: z.array(declaration).default([]).describe("Of symbols in the prefix."),
  relevant_snippets_from_changed_files: z.array(snippet).default([]),
  relevant_snippets_from_recently_opened_files: z.array(snippet).default([]),
  clipboard: z.string().optional(),
}).openapi("TabbySegments");
export type TabbySegments = z.output<typeof segments>;

const debugOptions = z.object({
  raw_prompt: z.string().min(1).optional().describe(
    "What to continue, in place of `segments`; special tokens are parsed.",
  ),
  return_snippets: z.boolean().default(false),
  return_prompt: z.boolean().default(false),
  disable_retrieval_augmented_code_completion: z.boolean().default(false).describe(
    "Show the model no other files.",
  ),
}).openapi("TabbyDebugOptions");

export const tabbyRequest = z.object({
  language: z.string().default("unknown"),
  segments: segments.optional(),
  user: z.string().optional().describe("Accepted and ignored."),
  temperature: z.number().min(0).default(0.1).describe("0 takes the likeliest token."),
  seed: z.number().min(0).max(2 ** 64).refine(Number.isInteger, '"seed" must be an integer').optional(),
  mode: z.literal("standard", { error: '"mode" must be "standard": edits elsewhere are not suggested' })
    .default("standard"),
  debug_options: debugOptions.prefault({}),
  ...outputRuleFields,
  ...standingFields,
}).superRefine(({ segments, debug_options }, context) => {
  if (segments || debug_options.raw_prompt !== undefined) return;
  context.addIssue({ code: "custom", path: ["segments"], message: '"segments" is required' });
}).openapi("TabbyCompletionRequest");
export type TabbyRequest = z.output<typeof tabbyRequest>;

/** Whether a body for /v1/completions is in Tabby's words. */
export function isTabbyBody(body: Readonly<Record<string, unknown>>): boolean {
  if ("prompt" in body) return false;
  const debug = body.debug_options;
  return "segments" in body || (typeof debug === "object" && debug !== null && "raw_prompt" in debug);
}

export const tabbyReply = z.object({
  id: z.string(),
  choices: z.array(z.object({ index: z.int(), text: z.string() })),
  debug_data: z.object({ snippets: z.array(snippet).optional(), prompt: z.string().optional() }).optional(),
  mode: z.literal("standard"),
}).openapi("TabbyCompletion");
export type TabbyReply = z.output<typeof tabbyReply>;
