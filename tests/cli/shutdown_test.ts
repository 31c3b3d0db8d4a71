// How the server stops: its order with everything given, then the real server as a process of its own.
import assert from "node:assert/strict";
import { isSecond, shutDown } from "../../cli/shutdown.ts";
import { Drain } from "../../routes/drain.ts";
import { Exchange } from "../../routes/exchange.ts";
import { Log } from "../../routes/log.ts";
import { until } from "../routes/delay.ts";
import { startServer } from "./running_server.ts";

/** Runs `shutDown` over a server that only takes notes; `pass()` lets a deadline pass. */
function begin(drain: Drain, closing: () => Promise<void> = () => Promise.resolve()) {
  const order: string[] = [];
  const deadlines: { ms: number; pass: () => void }[] = [];
  const log = new Log({ level: "info", write: (line) => order.push(JSON.parse(line).event) });
  const done = shutDown({
    drain,
    log,
    timeoutMs: 30_000,
    closeEngine: () => Promise.resolve(void order.push("engine closed")),
    server: { shutdown: () => closing().then(() => void order.push("server closed")) },
    after: (ms) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      deadlines.push({ ms, pass: resolve });
      return promise;
    },
  });
  return { order, deadlines, done };
}

function openExchange(drain: Drain): Exchange {
  return new Exchange({ id: "1", method: "POST", path: "/infill", watchers: [drain], now: () => 0 });
}

Deno.test("shutDown() waits for what runs, then closes the engine and the server", async () => {
  const drain = new Drain();
  const exchange = openExchange(drain);
  const { order, deadlines, done } = begin(drain);
  await Promise.resolve();
  assert.deepEqual([order, drain.draining, deadlines[0]!.ms], [["draining"], true, 30_000]);
  exchange.replied(200);
  await done;
  assert.deepEqual(order, ["draining", "engine closed", "server closed", "stopped"]);
});

Deno.test("shutDown() closes the engine at the deadline, so that what runs still gets an answer", async () => {
  const drain = new Drain();
  openExchange(drain);
  const { order, deadlines, done } = begin(drain);
  deadlines[0]!.pass();
  await done;
  assert.deepEqual(order, [
    ...["draining", "drain deadline passed", "engine closed", "server closed", "stopped"],
  ]);
});

Deno.test("shutDown() does not wait for clients that read no more", async () => {
  const drain = new Drain();
  openExchange(drain);
  const { order, deadlines, done } = begin(drain, () => new Promise(() => {}));
  deadlines[0]!.pass();
  await until(() => deadlines.length === 2, "the last replies have a moment");
  assert.deepEqual(order.slice(-1), ["engine closed"]);
  deadlines[1]!.pass();
  await done;
  assert.deepEqual(order.slice(-1), ["stopped"]);
});

const BODY = JSON.stringify({ prompt: "def f(x):", max_tokens: 4, ignore_eos: true });

/** A request whose second half is sent later: running work that ends exactly when the test wants it to. */
async function sendHalf(port: number): Promise<Deno.TcpConn> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const head = [
    ...["POST /v1/completions HTTP/1.1", "Host: test", "Connection: close"],
    ...["Content-Type: application/json", `Content-Length: ${BODY.length}`],
  ];
  await connection.write(new TextEncoder().encode(`${head.join("\r\n")}\r\n\r\n${BODY.slice(0, 10)}`));
  const running = async () => {
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    return /^hyades_http_requests_in_flight 1$/m.test(metrics);
  };
  while (!await running());
  return connection;
}

async function readAll(connection: Deno.TcpConn): Promise<string> {
  return await new Response(connection.readable).text();
}

Deno.test("serve drains at SIGTERM: not ready, no new work, running work answered, exit 0", async () => {
  await using server = await startServer(["--log-level", "info"]);
  const url = `http://127.0.0.1:${server.port}`;
  const running = await sendHalf(server.port);
  server.process.kill("SIGTERM");
  await until(() => server.printed().includes('"event":"draining"'), "the signal has arrived");
  const ready = await fetch(`${url}/readyz`);
  assert.deepEqual([ready.status, (await ready.json()).status], [503, "draining"]);
  const headers = { "Content-Type": "application/json" };
  const refused = await fetch(`${url}/v1/completions`, { method: "POST", headers, body: BODY });
  assert.deepEqual([refused.status, refused.headers.get("retry-after")], [503, "5"]);
  assert.equal((await refused.json()).error.code, "draining");
  await running.write(new TextEncoder().encode(BODY.slice(10)));
  const reply = await readAll(running);
  assert.match(reply, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(reply, /"completion_tokens":4/);
  assert.equal((await server.process.status).code, 0);
});

Deno.test("serve ends at its shutdown timeout whatever still runs, with exit 0", async () => {
  await using server = await startServer(["--shutdown-timeout", "0"]);
  const running = await sendHalf(server.port);
  server.process.kill("SIGINT");
  assert.equal((await server.process.status).code, 0);
  assert.match(server.printed(), /"level":"warn","event":"drain deadline passed","requests":1/);
  running.close();
});

Deno.test("serve does not wait for connections that ask for nothing", async () => {
  // Waiting for them would take the hour.
  await using server = await startServer(["--shutdown-timeout", "3600"]);
  const unused = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
  server.process.kill("SIGTERM");
  assert.equal((await server.process.status).code, 0);
  unused.close();
});

Deno.test("serve ends at once at the second signal", async () => {
  await using server = await startServer(["--log-level", "info"]);
  const running = await sendHalf(server.port);
  server.process.kill("SIGTERM");
  await until(() => server.printed().includes('"event":"draining"'), "the first signal has arrived");
  server.process.kill("SIGTERM");
  assert.equal((await server.process.status).code, 143);
  running.close();
});

Deno.test("serve says what it waits for after Ctrl-C, and ends at once at another", async () => {
  await using server = await startServer([]);
  const running = await sendHalf(server.port);
  server.process.kill("SIGINT");
  await until(
    () => server.printed().includes("Stopping: 1 request has up to 30 s"),
    "the signal has arrived",
  );
  await new Promise((resolve) => setTimeout(resolve, 700));
  assert.equal((await fetch(server.url("/readyz"))).status, 503);
  server.process.kill("SIGINT");
  assert.equal((await server.process.status).code, 130);
  running.close();
});

Deno.test("isSecond() takes a Ctrl-C that comes twice at once, as under deno task, for one", () => {
  const cases = [["SIGINT", 0, false], ["SIGINT", 400, false], ["SIGINT", 600, true], [
    "SIGTERM",
    0,
    true,
  ]] as const;
  for (const [signal, ms, second] of cases) {
    assert.equal(isSecond(signal, ms), second, `${signal} after ${ms} ms`);
  }
});

Deno.test("serve reads keys and their limits from a file", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, "# keys\nka name=alice tokens_per_minute=5\nkb\n");
    await using server = await startServer(["--api-keys", file]);
    const url = `http://127.0.0.1:${server.port}/v1/completions`;
    const ask = async (key: string) => {
      const headers = { "Content-Type": "application/json", Authorization: `Bearer ${key}` };
      const response = await fetch(url, { method: "POST", headers, body: BODY });
      await response.text();
      return response.status;
    };
    assert.deepEqual([await ask("kc"), await ask("ka"), await ask("ka"), await ask("kb")], [
      401,
      200,
      429,
      200,
    ]);
  } finally {
    await Deno.remove(file);
  }
});
