// POST /tokenize and /detokenize as llama.cpp's server has them.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Engine } from "../../engine/engine.ts";
import type { ModelChoice } from "../../engine/model_choice.ts";
import { encodeParts } from "../encode_text.ts";
import { readJson } from "../json_body.ts";
import { namedModel } from "../named_model.ts";
import { documentRoute } from "../openapi.ts";
import { describePrompt, isTokenId } from "../prompt_items.ts";
import type { RouteOptions } from "../route_options.ts";
import { modelField } from "./model_field.ts";

/** Checks of our own in place of arrays of a type, which would report every wrong item. */
const content = z.custom<string | (string | number)[]>(isContent, {
  error: ({ input }) =>
    input === undefined
      ? '"content" is required'
      : `"content" must be a string, or an array of strings and token ids, received ${
        describePrompt(input, isPart)
      }`,
}).openapi({ type: ["string", "array"], description: "A text; token ids may stand among parts of one." });

/** A tenth of a second's work, which holds up everybody else's steps. */
const MOST_TOKENS = 131_072;

const tokens = z.custom<number[]>(isTokens, {
  error: ({ input }) =>
    input === undefined
      ? '"tokens" is required'
      : `"tokens" must be an array of at most ${MOST_TOKENS} token ids, received ${
        describePrompt(input, isTokenId)
      }`,
}).openapi({ type: "array", items: { type: "integer", minimum: 0 }, description: "Token ids." });

const tokenizeRequest = z.object({
  model: modelField,
  content,
  add_special: z.boolean().default(false).describe(
    "Without effect: the models here have no token that begins a text.",
  ),
  parse_special: z.boolean().default(true).describe(
    "Whether text that spells a control token becomes that token.",
  ),
  with_pieces: z.boolean().default(false).describe("Say what each token stands for."),
}).openapi("TokenizeRequest");

const piece = z.object({
  id: z.int(),
  piece: z.union([z.string(), z.array(z.int())]).describe(
    "Its text, or its bytes where they are no whole characters.",
  ),
});
const tokenizeReply = z.object({ tokens: z.union([z.array(z.int()), z.array(piece)]) }).openapi("Tokens");

const detokenizeRequest = z.object({ model: modelField, tokens }).openapi("DetokenizeRequest");
const detokenizeReply = z.object({ content: z.string() }).openapi("Content");

export function llamaTokens(models: ModelChoice, options: RouteOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  app.post("/tokenize", async (c) => {
    const body = await readJson(c, tokenizeRequest, options);
    const { content, parse_special: parseSpecial, with_pieces } = body;
    const engine = await namedModel(c, models, body.model);
    const ids = await encodeParts(engine, [content].flat(), "content", { parseSpecial });
    return c.json({ tokens: with_pieces ? await withPieces(engine, ids) : ids });
  });
  app.post("/detokenize", async (c) => {
    const { tokens, model } = await readJson(c, detokenizeRequest, options);
    const engine = await namedModel(c, models, model);
    return c.json({ content: await engine.detokenize(tokens) });
  });
  documentRoute(app, {
    method: "post",
    path: "/tokenize",
    summary: "A text's tokens, as llama.cpp's server has it",
    request: tokenizeRequest,
    example: { content: "def add(a, b):", with_pieces: true },
    reply: tokenizeReply,
  });
  documentRoute(app, {
    method: "post",
    path: "/detokenize",
    summary: "The text of tokens, as llama.cpp's server has it",
    request: detokenizeRequest,
    example: { tokens: [0, 1, 2] },
    reply: detokenizeReply,
  });
  return app;
}

async function withPieces(engine: Engine, ids: readonly number[]): Promise<z.output<typeof piece>[]> {
  const bytes = await engine.tokenBytes(ids);
  return ids.map((id, i) => ({ id, piece: textOrBytes(bytes[i]!) }));
}

function textOrBytes(bytes: Uint8Array): string | number[] {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return [...bytes];
  }
}

function isContent(value: unknown): boolean {
  if (typeof value === "string") return true;
  return Array.isArray(value) && value.every(isPart);
}

function isPart(item: unknown): boolean {
  return typeof item === "string" || isTokenId(item);
}

function isTokens(value: unknown): boolean {
  return Array.isArray(value) && value.length <= MOST_TOKENS && value.every(isTokenId);
}
