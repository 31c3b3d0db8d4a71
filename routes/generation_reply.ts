// What every route that generates does between a checked body and its reply, whatever its dialect: the engine is asked
// with all that holds for every request, and an error finds its dialect's frame.
import type { Context } from "hono";
import type { Engine } from "../engine/engine.ts";
import type { GenerationRequest } from "../engine/request.ts";
import { dialectOf } from "./dialects.ts";
import { errorFrame } from "./error_shapes.ts";
import { explain } from "./errors.ts";
import { awaitFirstToken, clientSignal, generate, type PromptEvent } from "./generation.ts";
import { type Frame, type Framing, replyStream } from "./reply_stream.ts";
import type { RouteOptions } from "./route_options.ts";
import { standingOf, type Wish } from "./standing.ts";

export interface GenerationJob {
  readonly c: Context;
  readonly engine: Engine;
  readonly options: RouteOptions;
  /** One a prompt. */
  readonly requests: readonly GenerationRequest[];
  readonly wish: Wish;
}

/** The events of a reply that is sent as a whole. */
export function generationEvents(job: GenerationJob): AsyncGenerator<PromptEvent, void, undefined> {
  return start(job, clientSignal(job.c.req.raw).signal);
}

/**
 * A reply that is sent as it grows. What fails before the first token is thrown, and so has a status of its own; what
 * fails later is the stream's last frame.
 */
export async function streamedReply(
  job: GenerationJob,
  framing: Framing,
  frames: (events: AsyncIterable<PromptEvent>) => AsyncIterable<Frame>,
): Promise<Response> {
  const { c, options } = job;
  const client = clientSignal(c.req.raw);
  const events = await awaitFirstToken(start(job, client.signal));
  return replyStream(frames(events), {
    framing,
    onCancel: client.leave,
    errorFrame: (error) => errorFrame(explain(error, c, options.report), dialectOf(c)),
  });
}

function start({ c, engine, options, requests, wish }: GenerationJob, signal: AbortSignal) {
  return generate(engine, requests, {
    exchange: c.get("exchange"),
    standing: standingOf(c, wish),
    signal,
    deadlines: options.deadlines,
  });
}
