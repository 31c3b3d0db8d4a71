import { ROOT_CONTEXT, type Tracer } from "@opentelemetry/api";
import assert from "node:assert/strict";
import { Exchange } from "../../routes/exchange.ts";
import { traceExchanges } from "../../routes/tracing.ts";
import { Clock } from "./clock.ts";
import { FakeEngine } from "./fake_engine.ts";

/** A tracer that keeps the spans it is asked for. */
function recordingTracer() {
  const spans: { name: string; start: number; end?: number; attributes: object; parent: unknown }[] = [];
  const tracer = {
    startSpan(name: string, options: { startTime: number; attributes: object }, parent: unknown) {
      const span = { name, start: options.startTime, attributes: options.attributes, parent };
      spans.push(span);
      return { end: (end: number) => Object.assign(span, { end }) };
    },
  } as unknown as Tracer;
  return { spans, tracer };
}

function open(tracer: Tracer): Exchange {
  const watchers = [traceExchanges(tracer, () => 1_000_000)];
  return new Exchange({ id: "r-1", method: "POST", path: "/infill", watchers, now: new Clock().now });
}

Deno.test("traceExchanges() adds queue, prefill and decode, end to end, under the request's context", async () => {
  const { spans, tracer } = recordingTracer();
  const exchange = open(tracer);
  const { signal } = new AbortController();
  const events = new FakeEngine().submit({ prompt: { kind: "text", text: "xy", parseSpecial: false } });
  await Array.fromAsync(exchange.watch(events, signal));
  const id = { "hyades.request_id": "r-1" };
  assert.deepEqual(spans, [
    { name: "queue", start: 999_929, end: 999_930, attributes: id, parent: ROOT_CONTEXT },
    {
      name: "prefill",
      start: 999_930,
      end: 999_950,
      attributes: { ...id, "gen_ai.usage.input_tokens": 2 },
      parent: ROOT_CONTEXT,
    },
    {
      name: "decode",
      start: 999_950,
      end: 1_000_000,
      attributes: { ...id, "gen_ai.usage.output_tokens": 3, "gen_ai.response.finish_reasons": ["eos"] },
      parent: ROOT_CONTEXT,
    },
  ]);
});

Deno.test("traceExchanges() adds nothing for a generation that the engine timed nothing of", async () => {
  const { spans, tracer } = recordingTracer();
  const exchange = open(tracer);
  const engine = new FakeEngine({ failure: { at: 0, error: new Error("refused") } });
  const events = engine.submit({ prompt: { kind: "text", text: "xy", parseSpecial: false } });
  await assert.rejects(Array.fromAsync(exchange.watch(events, new AbortController().signal)));
  assert.deepEqual(spans, []);
});
