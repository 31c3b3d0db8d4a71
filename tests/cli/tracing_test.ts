// Traces come out of Deno itself, so they are checked where they come out.
import assert from "node:assert/strict";
import { until } from "../routes/delay.ts";
import { startServer } from "./running_server.ts";

/** Spans as Deno's console exporter prints them: name, trace and span id, then the parent's id where there is one. */
function spansIn(printed: string): Map<string, { trace: string; id: string; parent: string | undefined }> {
  const found = printed.matchAll(/^SPAN (\S+) \[(\w+)\/(\w+)\].*\n(?: {2}parent: (\w+))?/gm);
  return new Map(
    [...found].map(([, name, trace, id, parent]) => [name!, { trace: trace!, id: id!, parent }]),
  );
}

/** A caller's trace and span. */
const TRACE = "0af7651916cd43dd8448eb211c80319c", CALLER = "b7ad6b7169203331";

Deno.test("serve puts queue, prefill and decode under the request's span, in its caller's trace", async () => {
  const env = { OTEL_DENO: "true", OTEL_EXPORTER_OTLP_PROTOCOL: "console" };
  await using server = await startServer([], env);
  const response = await fetch(server.url("/v1/completions"), {
    method: "POST",
    headers: { "Content-Type": "application/json", traceparent: `00-${TRACE}-${CALLER}-01` },
    body: JSON.stringify({ prompt: "x", max_tokens: 2, ignore_eos: true }),
  });
  assert.equal(response.status, 200, await response.text());
  server.process.kill("SIGTERM"); // Spans are exported in batches, the last one at the end.
  await server.process.status;
  await until(() => spansIn(server.printed()).has("POST"), "the spans are printed");
  const spans = spansIn(server.printed());
  // Deno's own span of the request where it passes that on, else ours.
  const request = spans.get("request") ?? spans.get("POST")!;
  assert.deepEqual([request.trace, request.parent], [TRACE, CALLER]);
  for (const phase of ["queue", "prefill", "decode"]) {
    const span = spans.get(phase);
    assert.deepEqual([span?.trace, span?.parent], [TRACE, request.id], phase);
  }
});
