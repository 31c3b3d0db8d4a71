// The official Python clients, openai and huggingface_hub, as published: python_clients.py asks, this serves.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { EngineUnavailableError } from "../../engine/errors.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { bareKeys } from "../../routes/api_keys.ts";
import { createApp } from "../../routes/app.ts";
import { HttpServer } from "../../routes/http_server.ts";
import { until } from "../routes/delay.ts";
import { FakeEngine, type Script } from "../routes/fake_engine.ts";
import { pythonClients } from "./python_clients.ts";

const CASES = 17;

/** By how the prompt begins. */
function script({ prompt }: GenerationRequest): Script {
  const text = prompt.kind === "text" ? prompt.text : "";
  if (text.startsWith("full")) {
    return failure(0, new EngineUnavailableError("The queue is full", "queue_full", 7));
  }
  if (text.startsWith("lost")) {
    return failure(2, new EngineUnavailableError("The device was lost", "device_lost"));
  }
  if (text.startsWith("bug")) return failure(0, new Error("a bug"));
  if (text.startsWith("long")) return { tokens: Array(100_000).fill("a"), tokenDelayMs: 5 };
  return { tokens: ["a", "é", "𝕏", "漢"] };
}

const failure = (at: number, error: Error): Script => ({ failure: { at, error } });

Deno.test("openai and huggingface_hub for Python complete, stream and read errors", async () => {
  const python = await pythonClients();
  if (!python) return;
  const engine = new FakeEngine(script);
  const app = createApp(engine, { apiKeys: bareKeys(["good-key"]), reportError: () => {} });
  await using server = await HttpServer.listen(app.fetch, { hostname: "127.0.0.1", port: 0 });
  const file = fileURLToPath(new URL("python_clients.py", import.meta.url));
  const { code, stderr } = await new Deno.Command(python, {
    args: [file, `http://127.0.0.1:${server.port}`],
    env: { NO_PROXY: "127.0.0.1", HF_HUB_DISABLE_TELEMETRY: "1" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  const printed = new TextDecoder().decode(stderr);
  assert.equal(code, 0, printed);
  assert.match(printed, new RegExp(`^Ran ${CASES} tests in`, "m"));
  await until(() => engine.active === 0, "nothing runs for clients that have left");
});
