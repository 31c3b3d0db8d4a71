// POST /v1/fim/completions as Mistral's Codestral has it, which Continue and others ask: OpenAI's completion, with the
// reply in the shape of a chat's.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { ModelChoice } from "../../engine/model_choice.ts";
import type { PromptEvent } from "../generation.ts";
import { generationEvents, streamedReply } from "../generation_reply.ts";
import { checkObject, readObject } from "../json_body.ts";
import { namedModel } from "../named_model.ts";
import { documentRoute } from "../openapi.ts";
import { type Frame, SSE } from "../reply_stream.ts";
import type { RouteOptions } from "../route_options.ts";
import { CompletionShaper, sumOfDeltas } from "./completion_reply.ts";
import { type CompletionChoice, completionRequest, completionUsage, seedField } from "./completion_schema.ts";
import { completionJob } from "./completions.ts";

/** Those of OpenAI's fields that have a place here, by their names and with their bounds. */
const { model, temperature, top_p, stop, seed, stream, fim_layout, extra, filename } =
  completionRequest.shape;

const fimRequest = z.object({
  ...{ model, top_p, stop, seed, stream, fim_layout, extra, filename },
  prompt: z.string().describe("Text before the cursor."),
  suffix: z.string().default("").describe("Text after the cursor."),
  max_tokens: z.int().min(0).default(256).describe("Most new tokens."),
  temperature: temperature.unwrap().default(0.7).describe("0 takes the likeliest token."),
  random_seed: seedField("random_seed").describe("As `seed`, and before it."),
}).openapi("FimRequest");

type FimRequest = z.output<typeof fimRequest>;

const finishReason = z.enum(["stop", "length"]);

const fimReply = z.object({
  id: z.string(),
  object: z.literal("chat.completion"),
  created: z.int(),
  model: z.string(),
  choices: z.array(z.object({
    index: z.int(),
    message: z.object({ role: z.literal("assistant"), content: z.string() }),
    finish_reason: finishReason,
  })),
  usage: completionUsage,
}).openapi("FimCompletion");

export function fimCompletions(models: ModelChoice, options: RouteOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  app.post("/v1/fim/completions", async (c) => {
    const object = await readObject(c, options);
    const fields = checkObject(object, fimRequest);
    // What we have added to OpenAI's fields holds here as well.
    const body = checkObject({ ...object, ...completionFields(fields) }, completionRequest);
    const engine = await namedModel(c, models, fields.model);
    const shaper = new CompletionShaper(engine.model, 1);
    const job = completionJob(c, engine, body, options);
    if (body.stream) return await streamedReply(job, SSE, (events) => chunks(events, shaper));
    return await wholeReply(c, generationEvents(job), shaper);
  });
  documentRoute(app, {
    method: "post",
    path: "/v1/fim/completions",
    summary: "Fill in the middle, as Codestral does",
    description:
      "As /v1/completions with `suffix`, one completion of one prompt, but for the reply: with `stream` " +
      "`choices[0].delta.content` holds the parts, and `data: [DONE]` ends it.",
    request: fimRequest,
    reply: fimReply,
    stream: true,
    example: { prompt: "def add(a, b):\n    ", suffix: "\n", max_tokens: 16, temperature: 0 },
  });
  return app;
}

function completionFields({ random_seed, ...fields }: FimRequest): Record<string, unknown> {
  return {
    ...fields,
    n: 1,
    best_of: 1,
    echo: false,
    ...(random_seed !== undefined && { seed: random_seed }),
  };
}

async function wholeReply(
  c: Context,
  events: AsyncIterable<PromptEvent>,
  shaper: CompletionShaper,
): Promise<Response> {
  const deltas: CompletionChoice[] = [];
  for await (const event of events) deltas.push(...shaper.deltas(event));
  const { choices, ...reply } = shaper.reply(sumOfDeltas(deltas, false));
  const messages = choices.map(({ text, logprobs: _, ...choice }) => ({
    ...choice,
    message: { role: "assistant", content: text },
  }));
  return c.json({ ...reply, object: "chat.completion", choices: messages });
}

async function* chunks(events: AsyncIterable<PromptEvent>, shaper: CompletionShaper): AsyncGenerator<Frame> {
  for await (const event of events) {
    for (const { text, logprobs: _, ...choice } of shaper.deltas(event)) {
      const isLast = choice.finish_reason !== null;
      const delta = { role: "assistant", content: text };
      const chunk = shaper.chunk([], isLast ? shaper.usage() : undefined);
      yield { ...chunk, object: "chat.completion.chunk", choices: [{ ...choice, delta }] };
    }
  }
  yield "[DONE]";
}
