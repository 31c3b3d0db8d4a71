// Tabby's agent as published finds the server healthy, completes, and says what became of it; without its token it says
// that one is needed.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { bareKeys } from "../../routes/api_keys.ts";
import { createApp } from "../../routes/app.ts";
import { HttpServer } from "../../routes/http_server.ts";
import { FakeEngine } from "../routes/fake_engine.ts";

/** What tabby_agent.ts printed. */
// deno-lint-ignore no-explicit-any
async function runAgent(url: string, token: string): Promise<any> {
  const home = await Deno.makeTempDir();
  const script = fileURLToPath(new URL("tabby_agent.ts", import.meta.url));
  try {
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", "--no-check", script, url, token],
      env: { HOME: home, DENO_DIR: await cacheFolder(), NO_COLOR: "1" },
      stdin: "null",
    }).output();
    const report = /^report: (.*)$/m.exec(new TextDecoder().decode(stdout));
    assert.ok(report, new TextDecoder().decode(stderr));
    return JSON.parse(report[1]!);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

/** Where Deno keeps packages: by default in the home folder. */
async function cacheFolder(): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
}

Deno.test("Tabby's agent completes, and tells what became of the completion", async () => {
  const engine = new FakeEngine({ tokens: ["fib(n - 1)", " + fib(n - 2)"] });
  const app = createApp(engine, { apiKeys: bareKeys(["good-key"]) });
  await using server = await HttpServer.listen(app.fetch, { hostname: "127.0.0.1", port: 0 });
  const url = `http://127.0.0.1:${server.port}`;
  assert.deepEqual(await runAgent(url, "good-key"), {
    status: "ready",
    model: "fake/model-1",
    texts: ["fib(n - 1) + fib(n - 2)"],
  });
  const [{ prompt }] = engine.requests as [typeof engine.requests[0]];
  assert.ok(prompt.kind === "infill");
  assert.deepEqual([prompt.prefix, prompt.suffix], ["def fib(n):\n    return ", "\n\nprint(fib(10))\n"]);
  const metrics = await app.request("/metrics", { headers: { Authorization: "Bearer good-key" } });
  const text = await metrics.text();
  for (const type of ["view", "select"]) {
    assert.ok(text.includes(`completion_events_total{type="${type}"} 1\n`), text);
  }
});

Deno.test("Tabby's agent without the token says that one is needed", async () => {
  const app = createApp(new FakeEngine(), { apiKeys: bareKeys(["good-key"]) });
  await using server = await HttpServer.listen(app.fetch, { hostname: "127.0.0.1", port: 0 });
  const { status } = await runAgent(`http://127.0.0.1:${server.port}`, "wrong");
  assert.equal(status, "unauthorized");
});
