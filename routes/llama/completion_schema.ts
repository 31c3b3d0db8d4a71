// The wire form of llama.cpp's POST /completion.
import { z } from "@hono/zod-openapi";
import { DEFAULT_MAX_WAITING } from "../../engine/engine_options.ts";
import { sampleCount } from "./generation_request.ts";
import { describePrompt, isTokenId } from "../prompt_items.ts";
import { checkScores, type GenerationBody, generationFields } from "./generation_schema.ts";

/** A text, or token ids with texts among them. */
export type NativePrompt = string | readonly (string | number)[];

const FORMS = '"prompt" must be a string, an array of token ids and strings, or an array of such prompts';

/** A check of our own in place of a union of arrays: a prompt may have hundreds of thousands of items. */
const prompt = z.custom<NativePrompt | readonly NativePrompt[]>(isPromptOrPrompts, {
  error: ({ input }) =>
    input === undefined
      ? '"prompt" is required'
      : `${FORMS}, received ${describePrompt(input, itemAmong(input))}`,
}).openapi({
  type: ["string", "array"],
  description:
    "What to continue; special tokens in a text are parsed. Token ids may stand among texts. Of several " +
    "prompts (an array of texts, or of arrays) the reply is an array.",
});

function isPromptOrPrompts(value: unknown): boolean {
  if (typeof value === "string") return true;
  return Array.isArray(value) && value.length > 0 && value.every(itemAmong(value));
}

/** What the items have to be: of one prompt, which has a number in it, or of several. */
function itemAmong(value: unknown): (item: unknown) => boolean {
  return Array.isArray(value) && hasNumber(value)
    ? (item) => typeof item === "string" || isTokenId(item)
    : (item) => typeof item === "string" || (Array.isArray(item) && isMixed(item));
}

/** An array is one prompt when a token id is in it. */
function isMixed(value: readonly unknown[]): value is (string | number)[] {
  return hasNumber(value) && value.every((item) => typeof item === "string" || isTokenId(item));
}

function hasNumber(value: readonly unknown[]): boolean {
  return value.some((item) => typeof item === "number");
}

/** @returns each prompt, and whether they came as several */
export function splitPrompts(
  value: NativePrompt | readonly NativePrompt[],
): { readonly prompts: readonly NativePrompt[]; readonly several: boolean } {
  if (typeof value === "string" || isMixed(value)) {
    return { prompts: [value as NativePrompt], several: false };
  }
  return { prompts: value as readonly NativePrompt[], several: true };
}

export const nativeCompletionRequest = z.object({ prompt, ...generationFields })
  .superRefine(checkScores)
  .superRefine(checkCompletions)
  .openapi("NativeCompletionRequest");

export type NativeCompletionRequest = z.output<typeof nativeCompletionRequest>;

function checkCompletions(
  body: GenerationBody & { prompt: NativePrompt | readonly NativePrompt[] },
  context: z.RefinementCtx,
) {
  const completions = splitPrompts(body.prompt).prompts.length * sampleCount(body);
  if (completions <= DEFAULT_MAX_WAITING) return;
  context.addIssue({
    code: "custom",
    path: ["prompt"],
    message:
      `"prompt" and "n_cmpl" must ask for at most ${DEFAULT_MAX_WAITING} completions together, received ` +
      `${completions}: send several requests`,
  });
}
