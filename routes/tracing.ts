// OpenTelemetry spans: queue, prefill and decode of each generation, under the span that Deno opens for the HTTP
// request when it runs with OTEL_DENO=true. Without a tracer behind the API a span is an empty object.
import { type Context, context, trace, type Tracer } from "@opentelemetry/api";
import type { Exchange, ExchangeWatcher, GenerationRecord } from "./exchange.ts";

/** `epochMs` is the wall clock, milliseconds. */
export function traceExchanges(
  tracer: Tracer = trace.getTracer("hyades"),
  epochMs: () => number = Date.now,
): ExchangeWatcher {
  // A generation ends in a turn of the event loop that knows no request; its parent is where the request began.
  const parents = new WeakMap<Exchange, Context>();
  return {
    started: (exchange) => parents.set(exchange, context.active()),
    generated: (exchange, record) =>
      addPhases(tracer, parents.get(exchange) ?? context.active(), exchange, record, epochMs()),
  };
}

function addPhases(
  tracer: Tracer,
  parent: Context,
  exchange: Exchange,
  record: GenerationRecord,
  endedAt: number,
): void {
  const { timings, promptTokens, completionTokens, reasons } = record;
  if (!timings) return;
  const { queueMs, promptMs, predictedMs } = timings;
  const decodeAt = endedAt - predictedMs, prefillAt = decodeAt - promptMs, queueAt = prefillAt - queueMs;
  const phases = [
    ["queue", queueAt, prefillAt, {}],
    ["prefill", prefillAt, decodeAt, { "gen_ai.usage.input_tokens": promptTokens }],
    ["decode", decodeAt, endedAt, {
      "gen_ai.usage.output_tokens": completionTokens,
      "gen_ai.response.finish_reasons": [...reasons],
    }],
  ] as const;
  for (const [name, startTime, endTime, attributes] of phases) {
    const id = { "hyades.request_id": exchange.id };
    tracer.startSpan(name, { startTime, attributes: { ...id, ...attributes } }, parent).end(endTime);
  }
}
