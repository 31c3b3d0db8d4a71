import { type Attributes, type Context, type SpanOptions, trace, type Tracer } from "@opentelemetry/api";
import assert from "node:assert/strict";
import { Exchange, type ExchangeOptions } from "../../routes/exchange.ts";
import { traceExchanges } from "../../routes/tracing.ts";
import { Clock } from "./clock.ts";
import { FakeEngine } from "./fake_engine.ts";

interface RecordedSpan {
  readonly name: string;
  readonly start?: number;
  readonly attributes: Attributes;
  /** Span id of its parent, where it has one. */
  readonly parent: string | undefined;
  end?: number | "now";
}

/** A tracer that keeps the spans it is asked for; their ids count from 1. */
function recordingTracer() {
  const spans: RecordedSpan[] = [];
  function startSpan(name: string, options: SpanOptions, parent: Context) {
    const attributes = { ...options.attributes };
    const span: RecordedSpan = {
      name,
      ...(options.startTime !== undefined && { start: options.startTime as number }),
      attributes,
      parent: trace.getSpanContext(parent)?.spanId,
    };
    spans.push(span);
    const spanId = `${spans.length}`.padStart(16, "0");
    return {
      spanContext: () => ({ traceId: "f".repeat(32), spanId, traceFlags: 1 }),
      setAttributes(more: Attributes) {
        Object.assign(attributes, more);
        return this;
      },
      end: (at: number | undefined) => void (span.end = at ?? "now"),
    };
  }
  return { spans, tracer: { startSpan } as unknown as Tracer };
}

const CALLER = "b7ad6b7169203331";
const REQUEST = "0000000000000001";

function open(tracer: Tracer, options: Partial<ExchangeOptions> = {}): Exchange {
  const watchers = [traceExchanges(tracer, () => 1_000_000)];
  const now = new Clock().now;
  return new Exchange({ id: "r-1", method: "POST", path: "/infill", watchers, now, ...options });
}

async function generate(exchange: Exchange, engine: FakeEngine): Promise<void> {
  const events = engine.submit({ prompt: { kind: "text", text: "xy", parseSpecial: false } });
  await Array.fromAsync(exchange.watch(events, new AbortController().signal));
}

Deno.test("traceExchanges() puts queue, prefill and decode, end to end, under a span of the request", async () => {
  const { spans, tracer } = recordingTracer();
  const exchange = open(tracer, { traceparent: `00-${"a".repeat(32)}-${CALLER}-01` });
  await generate(exchange, new FakeEngine());
  exchange.replied(200);
  const id = { "hyades.request_id": "r-1" };
  assert.deepEqual(spans, [
    {
      name: "request",
      attributes: {
        "http.request.method": "POST",
        "url.path": "/infill",
        "http.response.status_code": 200,
      },
      parent: CALLER,
      end: "now",
    },
    { name: "queue", start: 999_929, end: 999_930, attributes: id, parent: REQUEST },
    {
      name: "prefill",
      start: 999_930,
      end: 999_950,
      attributes: { ...id, "gen_ai.usage.input_tokens": 2 },
      parent: REQUEST,
    },
    {
      name: "decode",
      start: 999_950,
      end: 1_000_000,
      attributes: { ...id, "gen_ai.usage.output_tokens": 3, "gen_ai.response.finish_reasons": ["eos"] },
      parent: REQUEST,
    },
  ]);
});

Deno.test("traceExchanges() begins a trace where the caller has none, or a broken one", () => {
  const { spans, tracer } = recordingTracer();
  for (const traceparent of [undefined, "", "00-1-2-3", `00-${"0".repeat(32)}-${CALLER}-01`]) {
    open(tracer, { traceparent });
  }
  assert.deepEqual(spans.map(({ parent }) => parent), [undefined, undefined, undefined, undefined]);
});

Deno.test("traceExchanges() adds nothing for those who look, nor for what the engine timed nothing of", async () => {
  const { spans, tracer } = recordingTracer();
  open(tracer, { method: "GET" }).replied(200);
  assert.deepEqual(spans, []);
  const exchange = open(tracer);
  await assert.rejects(
    generate(exchange, new FakeEngine({ failure: { at: 0, error: new Error("refused") } })),
  );
  assert.deepEqual(spans.map(({ name }) => name), ["request"]);
});
