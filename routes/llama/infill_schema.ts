// The wire form of llama.cpp's POST /infill: what its editor plugins send.
import { z } from "@hono/zod-openapi";
import { filenameField } from "../infill_fields.ts";
import { checkScores, generationFields } from "./generation_schema.ts";

const CHUNK_WITHOUT_TEXT = 'extra_context chunk must contain a "text" field with a string value';

const chunk = z.object({
  text: z.string({ error: CHUNK_WITHOUT_TEXT }),
  filename: z.string({ error: 'extra_context chunk\'s "filename" must be a string' }).nullish(),
}, { error: CHUNK_WITHOUT_TEXT });

export const infillRequest = z.object({
  input_prefix: z.string().describe("Text before the cursor's line, or before the cursor."),
  input_suffix: z.string().describe("Text after the cursor."),
  prompt: z.string().default("").describe("Text of the current line before the cursor."),
  input_extra: z.array(chunk).default([]).describe("Chunks of other files, oldest first."),
  filename: filenameField,
  ...generationFields,
}).superRefine(checkScores).openapi("InfillRequest");

export type InfillRequest = z.output<typeof infillRequest>;
