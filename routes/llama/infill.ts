// POST /infill as llama.cpp's server has it, in its basic form: enough for llama.vim and llama.vscode.
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { Engine } from "../../engine/engine.ts";
import type { GenerationEvent, GenerationRequest } from "../../engine/request.ts";
import { errorBody, explain } from "../errors.ts";
import { awaitFirstToken, clientSignal, generate, type PromptEvent } from "../generation.ts";
import { readJson } from "../json_body.ts";
import { type InfillPart, InfillSample, selectFields } from "./infill_reply.ts";
import { sampleCount, toInfillGeneration } from "./infill_request.ts";
import { infillReply, type InfillRequest, infillRequest } from "./infill_schema.ts";
import { documentRoute } from "../openapi.ts";
import type { RouteOptions } from "../route_options.ts";
import { standingOf, type Wish } from "../standing.ts";
import { eventStream } from "../sse.ts";

export function llamaInfill(engine: Engine, options: RouteOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  app.post("/infill", async (c) => {
    const body = await readJson(c, infillRequest, options);
    return await (body.stream ? streamReply : plainReply)(c, engine, body, options);
  });
  documentRoute(app, {
    method: "post",
    path: "/infill",
    summary: "Fill in the middle, as llama.cpp's server does",
    description:
      "With `n_cmpl` above 1 the reply is an array. With `stream`, it is an event stream of parts " +
      "that ends with the full object, and with no `[DONE]`. Errors have llama.cpp's shape. " +
      "Null means absent; unknown fields are ignored.",
    request: infillRequest,
    reply: infillReply,
    stream: true,
  });
  return app;
}

/** What goes out: parts as the text grows, and one full reply (cut to the fields asked for) a sample. */
type Output =
  | { readonly kind: "part"; readonly part: InfillPart }
  | { readonly kind: "reply"; readonly index: number; readonly reply: Record<string, unknown> };

/** llama.vim's requests differ in one thing alone: it gives a live one 250 ms, and its look ahead a second. */
const LLAMA_VIM_AHEAD_MS = 1000;

function wishOf(body: InfillRequest, generation: GenerationRequest): Wish {
  const { session_id, priority, stream } = body;
  return {
    ...{ session_id, priority, stream, numPrompts: 1, n: sampleCount(body), scoresPrompt: false },
    maxTokens: generation.maxTokens,
    speculative: body.t_max_predict_ms === LLAMA_VIM_AHEAD_MS && (body.response_fields?.length ?? 0) > 0,
  };
}

async function plainReply(
  c: Context,
  engine: Engine,
  body: InfillRequest,
  options: RouteOptions,
): Promise<Response> {
  const generation = toInfillGeneration(body);
  const events = generate(engine, [generation], {
    exchange: c.get("exchange"),
    standing: standingOf(c, wishOf(body, generation)),
    signal: clientSignal(c.req.raw).signal,
    deadlines: options.deadlines,
  });
  const replies: Record<string, unknown>[] = [];
  for await (const output of outputs(events, engine, body, generation)) {
    if (output.kind === "reply") replies[output.index] = output.reply;
  }
  return c.json(sampleCount(body) > 1 ? replies : replies[0]!);
}

async function streamReply(
  c: Context,
  engine: Engine,
  body: InfillRequest,
  options: RouteOptions,
): Promise<Response> {
  const generation = toInfillGeneration(body);
  const client = clientSignal(c.req.raw);
  const events = await awaitFirstToken(generate(engine, [generation], {
    exchange: c.get("exchange"),
    standing: standingOf(c, wishOf(body, generation)),
    signal: client.signal,
    deadlines: options.deadlines,
  }));
  return eventStream(frames(outputs(events, engine, body, generation)), {
    onCancel: client.leave,
    errorFrame: (error) => errorBody(explain(error, c, options.report), "llama"),
  });
}

async function* frames(all: AsyncIterable<Output>): AsyncGenerator<object> {
  for await (const output of all) yield output.kind === "part" ? output.part : output.reply;
}

async function* outputs(
  events: AsyncIterable<PromptEvent>,
  engine: Engine,
  body: InfillRequest,
  generation: GenerationRequest,
): AsyncGenerator<Output> {
  const { model } = engine;
  const samples = Array.from({ length: sampleCount(body) }, (_, index) => new InfillSample(index, body));
  let prompt: Extract<GenerationEvent, { kind: "prompt" }> = {
    kind: "prompt",
    tokenIds: [],
    truncated: false,
  };
  for await (const { event } of events) {
    if (event.kind === "prompt") {
      prompt = event;
      continue;
    }
    const sample = samples[event.sample]!;
    if (event.kind === "token") {
      yield { kind: "part", part: sample.add(event, prompt) };
      continue;
    }
    const heldBack = sample.addHeldBack(event, prompt);
    if (heldBack) yield { kind: "part", part: heldBack };
    const reply = sample.reply(prompt, event, { model, generation });
    yield { kind: "reply", index: sample.index, reply: selectFields(reply, body.response_fields) };
  }
}
