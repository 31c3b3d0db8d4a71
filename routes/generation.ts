// One HTTP request's generations: a prompt each, run side by side, stopped together. Knows the engine's events, and
// nothing of how a dialect shows them.
import type { Deadlines } from "../engine/deadlines.ts";
import type { Engine } from "../engine/engine.ts";
import type { GenerationEvent, GenerationRequest } from "../engine/request.ts";
import { HttpProblem } from "./http_problem.ts";
import type { Exchange } from "./exchange.ts";
import type { Standing } from "./standing.ts";

/** An event, and which of the request's prompts it belongs to. */
export interface PromptEvent {
  readonly prompt: number;
  readonly event: GenerationEvent;
}

export interface GenerateOptions {
  /** Keeps account of all generations. */
  readonly exchange: Exchange;
  /** Aborted when the client leaves. */
  readonly signal: AbortSignal;
  readonly standing: Standing;
  /** The server's; a request's own can only be shorter. */
  readonly deadlines: Deadlines;
}

/**
 * Submits all requests at once and yields their events as they come. Whatever ends it (the last event, an error of one
 * of them, the signal, a consumer that stops) cancels what still runs.
 * @throws {HttpProblem} "cancelled" when the signal was aborted
 */
export async function* generate(
  engine: Engine,
  requests: readonly GenerationRequest[],
  { exchange, signal, standing, deadlines }: GenerateOptions,
): AsyncGenerator<PromptEvent, void, undefined> {
  // An engine that does not know its model yet refuses the requests; one that is being rebuilt has them wait.
  const { phase } = engine.state;
  if (phase === "ready" || phase === "rebuilding") exchange.model = engine.model.id;
  const ended = new AbortController();
  const either = AbortSignal.any([signal, ended.signal]);
  try {
    const { queueMs: _, ...others } = deadlines;
    yield* merge(requests.map((request, i) => {
      // Those after the first wait for their own kind: how busy the server is, the first has found out.
      const within = withinDeadlines(request, i === 0 ? deadlines : others);
      const bound = { ...within, ...standing, requestId: exchange.id };
      return exchange.watch(engine.submit(bound, either), either);
    }));
    signal.throwIfAborted();
  } catch (error) {
    if (signal.aborted) throw new HttpProblem("cancelled", "The client closed the request");
    throw error;
  } finally {
    ended.abort();
  }
}

/** Of each deadline the earlier. */
function withinDeadlines(request: GenerationRequest, server: Deadlines): GenerationRequest {
  const own: Deadlines = request.deadlines ?? {};
  const names = [...new Set([...Object.keys(own), ...Object.keys(server)])] as (keyof Deadlines)[];
  if (names.length === 0) return request;
  const earlier = names.map((name) => [name, Math.min(own[name] ?? Infinity, server[name] ?? Infinity)]);
  return { ...request, deadlines: Object.fromEntries(earlier) };
}

/** A stream serves as the queue between the sources: each writes when it can, the reader takes in order of arrival. */
function merge(sources: readonly AsyncIterable<GenerationEvent>[]): ReadableStream<PromptEvent> {
  return new ReadableStream({
    start(controller) {
      Promise.all(sources.map((source, prompt) => pump(source, prompt, controller))).then(
        () => controller.close(),
        (error) => controller.error(error),
      ).catch(() => {}); // The reader has cancelled: there is nobody left to tell.
    },
  });
}

async function pump(
  source: AsyncIterable<GenerationEvent>,
  prompt: number,
  controller: ReadableStreamDefaultController<PromptEvent>,
): Promise<void> {
  for await (const event of source) controller.enqueue({ prompt, event });
}

/**
 * Waits until the first token (or the end), so that whatever fails before it is still a plain HTTP error with a status
 * of its own; then hands all events on from the first.
 */
export async function awaitFirstToken(
  events: AsyncGenerator<PromptEvent, void, undefined>,
): Promise<AsyncGenerator<PromptEvent, void, undefined>> {
  const head: PromptEvent[] = [];
  for (;;) {
    const next = await events.next();
    if (next.done) break;
    head.push(next.value);
    if (next.value.event.kind !== "prompt") break;
  }
  return replay(head, events);
}

async function* replay(
  head: readonly PromptEvent[],
  rest: AsyncGenerator<PromptEvent, void, undefined>,
): AsyncGenerator<PromptEvent, void, undefined> {
  yield* head;
  yield* rest;
}

/** Aborted when the client of this HTTP request leaves, seen either by the server or by a response body. */
export function clientSignal(request: Request): { readonly signal: AbortSignal; readonly leave: () => void } {
  const left = new AbortController();
  return { signal: AbortSignal.any([request.signal, left.signal]), leave: () => left.abort() };
}
