// GET /slots in llama.cpp's shape: what every sequence in flight holds. We have no fixed slots, so the list is as long
// as there are sequences: first those that run, then those that wait.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { ModelChoice } from "../../engine/model_choice.ts";
import { PRIORITIES } from "../../engine/priority.ts";
import type { SequenceInfo } from "../../engine/sequence_info.ts";
import { HttpProblem } from "../http_problem.ts";
import { modelQuery, namedEngine, namedListing } from "../named_model.ts";
import { documentRoute } from "../openapi.ts";

export interface SlotsOptions {
  /** Whether `?prompt=1` shows prompts: they are everybody's, whoever asks. */
  readonly showPrompts: boolean;
}

const slot = z.object({
  id: z.int().describe("Place in this list."),
  id_task: z.int().describe("Order of arrival."),
  n_ctx: z.int(),
  speculative: z.boolean(),
  is_processing: z.boolean().describe("False while it waits in the queue."),
  params: z.object({
    n_predict: z.int(),
    temperature: z.number(),
    top_k: z.int(),
    top_p: z.number(),
    min_p: z.number(),
  }),
  next_token: z.object({
    has_next_token: z.boolean(),
    has_new_line: z.boolean().describe("Whether the completion so far has a line break."),
    n_remain: z.int(),
    n_decoded: z.int(),
  }),
  request_id: z.string().optional().describe("What the reply's `X-Request-Id` says."),
  sample: z.int(),
  stage: z.enum(["queue", "prefill", "decode"]),
  priority: z.enum(PRIORITIES).describe("Its class: docs/scheduling.md."),
  age_ms: z.number(),
  n_prompt_tokens: z.int(),
  n_prompt_tokens_processed: z.int(),
  n_blocks: z.int().describe("Blocks of the KV cache that it holds, shared ones included."),
  prompt: z.string().optional().describe("With `?prompt=1`, where the server allows it."),
}).openapi("Slot");

const slotsQuery = modelQuery.extend({
  prompt: z.enum(["0", "1"]).optional().describe("1: with the prompts; the server must have been told so."),
  fail_on_no_slot: z.enum(["0", "1"]).optional().describe("1: answer 503 while anything waits."),
});

export function llamaSlots(models: ModelChoice, options: SlotsOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  app.get("/slots", async (c) => {
    const withPrompts = c.req.query("prompt") === "1";
    if (withPrompts && !options.showPrompts) throw promptsHidden();
    const name = c.req.query("model"), { contextLength } = namedListing(c, models, name);
    const sequences = await namedEngine(c, models, name).sequences({ withPrompts });
    if (c.req.query("fail_on_no_slot") === "1") requireRoom(sequences);
    return c.json(sequences.map((sequence, id) => toSlot(sequence, id, contextLength)));
  });
  documentRoute(app, {
    method: "get",
    path: "/slots",
    summary: "What every sequence in flight holds, as llama.cpp's server shows its slots",
    description: "One entry a sequence: those that run, then those that wait.",
    query: slotsQuery,
    errors: { 403: "Prompts are asked for, and the server was not told to show them." },
    reply: z.array(slot),
  });
  return app;
}

function promptsHidden(): HttpProblem {
  return new HttpProblem(
    "forbidden",
    'This server does not show prompts: start it with --show-prompts, or leave "prompt" out',
    { param: "prompt", code: "prompts_hidden" },
  );
}

function requireRoom(sequences: readonly SequenceInfo[]): void {
  if (sequences.every(({ stage }) => stage !== "queue")) return;
  throw new HttpProblem("unavailable", "No slot is free: requests are waiting", { retryAfterSeconds: 1 });
}

function toSlot(sequence: SequenceInfo, id: number, contextLength: number): z.output<typeof slot> {
  const { maxTokens, generatedTokens, hasNewLine, promptTokens, temperature, topK, topP, minP, prompt } =
    sequence;
  return {
    id,
    id_task: sequence.arrival,
    n_ctx: contextLength,
    speculative: false,
    is_processing: sequence.stage !== "queue",
    params: { n_predict: maxTokens, temperature, top_k: topK, top_p: topP, min_p: minP },
    next_token: {
      has_next_token: generatedTokens < maxTokens,
      has_new_line: hasNewLine,
      n_remain: maxTokens - generatedTokens,
      n_decoded: generatedTokens,
    },
    ...(sequence.requestId !== undefined && { request_id: sequence.requestId }),
    sample: sequence.sample,
    stage: sequence.stage,
    priority: sequence.priority,
    age_ms: sequence.ageMs,
    n_prompt_tokens: promptTokens,
    // What a healed prompt was backed up by is never computed as such.
    n_prompt_tokens_processed: sequence.stage === "decode"
      ? promptTokens
      : Math.min(promptTokens, sequence.computedTokens),
    n_blocks: sequence.blocks,
    ...(prompt !== undefined && { prompt }),
  };
}
