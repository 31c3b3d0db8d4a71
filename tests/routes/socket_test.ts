// Over a real socket: what a request object cannot show. Clients that leave, read slowly, or wait for the next token.
import assert from "node:assert/strict";
import { createApp } from "../../routes/app.ts";
import { HttpServer } from "../../routes/http_server.ts";
import { until } from "./delay.ts";
import { FakeEngine, type Script } from "./fake_engine.ts";
import { openApp } from "./requests.ts";

interface Server extends AsyncDisposable {
  readonly engine: FakeEngine;
  readonly port: number;
}

async function serve(script: Script): Promise<Server> {
  const engine = new FakeEngine(script);
  const server = await HttpServer.listen(openApp(engine).fetch, { hostname: "127.0.0.1", port: 0 });
  return { engine, port: server.port, [Symbol.asyncDispose]: () => server.shutdown() };
}

function send(port: number, path: string, body: object, signal?: AbortSignal): Promise<Response> {
  return fetch(`http://127.0.0.1:${port}${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    ...(signal && { signal }),
  });
}

/** Too large for one packet, as real prefixes are. */
const CODE = "x = 1\n".repeat(4000);
const HOLE = { prompt: CODE, input_prefix: CODE, input_suffix: "s", max_tokens: 100_000 };
const ENDLESS = Array<string>(100_000).fill("token ");

for (const path of ["/v1/completions", "/infill"]) {
  Deno.test(`${path} streams token by token`, async () => {
    let arrived = 0;
    // Each token waits until the client has the one before it.
    const beforeToken = (index: number) => until(() => arrived === index, `token ${index - 1} arrives`);
    await using server = await serve({ tokens: ["a", "b", "c", "d"], beforeToken });
    const response = await send(server.port, path, { ...HOLE, stream: true });
    for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
      arrived += [...text.matchAll(/"(text|content)":"[abcd]"/g)].length;
    }
    assert.equal(arrived, 4);
    assert.equal(server.engine.cancelled, 0);
  });

  Deno.test(`${path} is cancelled when the client leaves in the middle of a stream`, async () => {
    await using server = await serve({ tokens: ENDLESS, tokenDelayMs: 5 });
    const abort = new AbortController();
    const response = await send(server.port, path, { ...HOLE, stream: true }, abort.signal);
    await response.body!.getReader().read();
    assert.equal(server.engine.active, 1);
    abort.abort();
    await until(() => server.engine.cancelled === 1, "the stream is cancelled");
    assert.equal(server.engine.active, 0);
  });

  for (const stream of [false, true]) {
    Deno.test(`${path} is cancelled when the client leaves while queued, stream ${stream}`, async () => {
      await using server = await serve({ admitted: new Promise(() => {}) });
      const abort = new AbortController();
      const reply = send(server.port, path, { ...HOLE, stream }, abort.signal);
      await until(() => server.engine.active === 1, "the request is queued");
      abort.abort();
      await assert.rejects(reply, { name: "AbortError" });
      await until(() => server.engine.cancelled === 1, "the request is cancelled");
    });
  }

  Deno.test(`${path} is cancelled when the client leaves during a plain reply`, async () => {
    await using server = await serve({ tokens: ENDLESS, tokenDelayMs: 5 });
    const abort = new AbortController();
    const reply = send(server.port, path, HOLE, abort.signal);
    await until(() => server.engine.delivered > 3, "tokens are made");
    abort.abort();
    await assert.rejects(reply, { name: "AbortError" });
    await until(() => server.engine.cancelled === 1, "the request is cancelled");
  });
}

Deno.test("/v1/completions is cancelled when the client leaves a stream that is silent", async () => {
  await using server = await serve({ tokens: ["a", "b"], tokenDelayMs: 0, heldBack: "" });
  server.engine.script = { tokens: ["a", ...Array<string>(10_000).fill("")], tokenDelayMs: 1 };
  const abort = new AbortController();
  const response = await send(server.port, "/v1/completions", { ...HOLE, stream: true }, abort.signal);
  await response.body!.getReader().read();
  abort.abort();
  await until(() => server.engine.cancelled === 1, "the stream is cancelled");
});

Deno.test("/v1/completions cancels all prompts and samples of a client that leaves", async () => {
  await using server = await serve({ tokens: ENDLESS, tokenDelayMs: 5 });
  const abort = new AbortController();
  const body = { ...HOLE, prompt: ["a", "b", "c"], n: 2, stream: true };
  const response = await send(server.port, "/v1/completions", body, abort.signal);
  await response.body!.getReader().read();
  await until(() => server.engine.active === 3, "three requests run");
  abort.abort();
  await until(() => server.engine.cancelled === 3, "all three are cancelled");
});

Deno.test("/v1/completions leaves other clients alone when one leaves", async () => {
  const left = Promise.withResolvers<void>();
  const beforeToken = (index: number) => index < 2 ? Promise.resolve() : left.promise;
  await using server = await serve({ tokens: ["a", "b", "c", "d", "e"], beforeToken });
  const abort = new AbortController();
  const leaving = send(server.port, "/v1/completions", HOLE, abort.signal);
  const staying = send(server.port, "/v1/completions", HOLE);
  await until(() => server.engine.active === 2, "both requests run");
  abort.abort();
  await assert.rejects(leaving);
  await until(() => server.engine.cancelled === 1, "one request is cancelled");
  left.resolve();
  assert.equal((await (await staying).json()).choices[0].text, "abcde");
  assert.equal(server.engine.cancelled, 1);
});

Deno.test("/v1/completions cancels nothing after a reply on a connection that is kept", async () => {
  await using server = await serve({ tokens: ["a"] });
  for (let i = 0; i < 5; i++) await (await send(server.port, "/v1/completions", HOLE)).json();
  assert.equal(server.engine.requests.length, 5);
  assert.equal(server.engine.cancelled, 0);
});

Deno.test("/v1/completions loses nothing to a client that reads slowly", async () => {
  // Six megabytes: more than the buffers between the two ends hold.
  const tokens = Array.from({ length: 300 }, (_, i) => `${i} `.padEnd(20_000, "."));
  await using server = await serve({ tokens });
  const response = await send(server.port, "/v1/completions", { ...HOLE, stream: true });
  let text = "";
  let reads = 0;
  for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
    if (reads++ < 20) await new Promise((resolve) => setTimeout(resolve, 5));
    text += part;
  }
  const received = text.split("\n\n").slice(0, -2).map((event) =>
    JSON.parse(event.slice("data: ".length)).choices[0].text
  );
  assert.ok(received.join("") === tokens.join(""), "the text differs");
  assert.ok(text.endsWith("data: [DONE]\n\n"));
});

/** Sends a request by hand. */
async function sendRaw(port: number, framing: string, body: string): Promise<Deno.TcpConn> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const head = ["POST /v1/completions HTTP/1.1", "Host: test", "Content-Type: application/json", framing];
  let bytes = new TextEncoder().encode(`${head.join("\r\n")}\r\n\r\n${body}`);
  while (bytes.length > 0) bytes = bytes.subarray(await connection.write(bytes));
  return connection;
}

Deno.test("/v1/completions cancels a client that closes its socket with data unread", async () => {
  await using server = await serve({ tokens: ENDLESS });
  const body = JSON.stringify({ ...HOLE, stream: true });
  const connection = await sendRaw(server.port, `Content-Length: ${body.length}`, body);
  await connection.read(new Uint8Array(64));
  connection.close();
  await until(() => server.engine.cancelled === 1, "the stream is cancelled");
});

Deno.test("/v1/completions tells a client that its body is too large, and serves the connection's next request", async () => {
  await using server = await serve({ tokens: ["a"] });
  const body = JSON.stringify({ prompt: "x".repeat(9_000_000) });
  using connection = await sendRaw(server.port, `Content-Length: ${body.length}`, body);
  const next = "GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
  await connection.write(new TextEncoder().encode(next));
  const replies = await new Response(connection.readable).text();
  assert.match(replies, /^HTTP\/1.1 413 [^]*"The request body must be at most [^]*HTTP\/1.1 200 OK/);
});

const CUT_SHORT = [["Content-Length: 100", '{"prom'], [
  "Transfer-Encoding: chunked",
  '6\r\n{"prom\r\n',
]] as const;

for (const [framing, body] of CUT_SHORT) {
  Deno.test(`/v1/completions takes a client that leaves within its body for no bug, ${framing}`, async () => {
    const reported: unknown[] = [];
    let started = 0, finished = 0;
    const app = createApp(new FakeEngine(), { apiKeys: [], reportError: (error) => reported.push(error) });
    const handler = (request: Request) => {
      started++;
      return Promise.resolve(app.fetch(request)).finally(() => finished++);
    };
    await using server = await HttpServer.listen(handler, { hostname: "127.0.0.1", port: 0 });
    const connection = await sendRaw(server.port, framing, body);
    await until(() => started === 1, "the request has begun");
    connection.close();
    await until(() => finished === 1, "the request is over");
    assert.deepEqual(reported, []);
  });
}

Deno.test("/metrics holds no request in flight once clients have left, mid-stream and unread", async () => {
  await using server = await serve({ tokens: ENDLESS, tokenDelayMs: 5 });
  async function inFlight(): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
    return Number(/^hyades_http_requests_in_flight (\d+)$/m.exec(text)![1]);
  }
  const abort = new AbortController();
  const read = await send(server.port, "/v1/completions", { ...HOLE, stream: true }, abort.signal);
  await read.body!.getReader().read();
  await send(server.port, "/infill", { ...HOLE, stream: true }, abort.signal);
  assert.equal(await inFlight(), 2);
  abort.abort();
  await until(() => server.engine.cancelled === 2, "both are cancelled");
  assert.equal(await inFlight(), 0);
});
