// OpenTelemetry spans: queue, prefill and decode of each generation, under the span that Deno opens for the HTTP
// request when it runs with OTEL_DENO=true. Without a tracer behind the API a span is an empty object.
import {
  type Context,
  context,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import type { Exchange, ExchangeWatcher, GenerationRecord } from "./exchange.ts";

/** `epochMs` is the wall clock, milliseconds. */
export function traceExchanges(
  tracer: Tracer = trace.getTracer("hyades"),
  epochMs: () => number = Date.now,
): ExchangeWatcher {
  // A generation ends in a turn of the event loop that knows no request; its parent is where the request began.
  const parents = new WeakMap<Exchange, Context>();
  const spans = new WeakMap<Exchange, Span>();

  function started(exchange: Exchange): void {
    const active = context.active();
    if (trace.getSpan(active) || !exchange.isWork) return void parents.set(exchange, active);
    const span = openRequest(tracer, exchange);
    spans.set(exchange, span);
    parents.set(exchange, trace.setSpan(active, span));
  }

  return {
    started,
    generated: (exchange, record) =>
      addPhases(tracer, parents.get(exchange) ?? context.active(), exchange, record, epochMs()),
    ended: (exchange) => void spans.get(exchange)?.setAttributes(statusOf(exchange)).end(),
  };
}

/** A span of our own, where Deno's is not at hand: it opens one for every server, and only Deno.serve passes it on. */
function openRequest(tracer: Tracer, exchange: Exchange): Span {
  const attributes = { "http.request.method": exchange.method, "url.path": exchange.path };
  const caller = callersContext(exchange.traceparent);
  return tracer.startSpan("request", { kind: SpanKind.SERVER, attributes }, caller);
}

function statusOf({ status }: Exchange) {
  return { "http.response.status_code": status! };
}

/** https://www.w3.org/TR/trace-context/: version, trace, parent span, flags. */
function callersContext(traceparent: string | undefined): Context {
  const found = /^[\da-f]{2}-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})/.exec(traceparent ?? "");
  if (!found) return ROOT_CONTEXT;
  const [, traceId = "", spanId = "", flags = ""] = found;
  const caller = { traceId, spanId, traceFlags: parseInt(flags, 16), isRemote: true };
  return isSpanContextValid(caller) ? trace.setSpanContext(ROOT_CONTEXT, caller) : ROOT_CONTEXT;
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
