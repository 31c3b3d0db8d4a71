import assert from "node:assert/strict";
import { createApp } from "../../../routes/app.ts";
import { FakeEngine } from "../fake_engine.ts";
import { get, openApp, post } from "../requests.ts";

const DETAILS = {
  parent_model: "",
  format: "safetensors",
  family: "gpt_bigcode",
  families: ["gpt_bigcode"],
  parameter_size: "31.0M",
  quantization_level: "8-bit",
};

Deno.test("/api/tags lists the served model, with a name that /api/generate takes", async () => {
  const app = openApp(new FakeEngine());
  const { json } = await get(app, "/api/tags");
  const [{ modified_at, digest, ...model }] = json.models;
  assert.equal(json.models.length, 1);
  assert.ok(!Number.isNaN(Date.parse(modified_at)));
  assert.match(digest, /^[\da-f]{64}$/);
  assert.deepEqual(model, {
    name: "fake/model-1:latest",
    model: "fake/model-1:latest",
    size: 32_000_000,
    details: DETAILS,
    capabilities: ["completion", "insert"],
  });
  const { status } = await post(app, "/api/generate", { model: model.name, prompt: "x" });
  assert.equal(status, 200);
});

Deno.test("/api/show has a template with .Suffix for a model that fills in, and its context", async () => {
  const { json } = await post(openApp(new FakeEngine()), "/api/show", { model: "fake/model-1" });
  assert.match(
    json.template,
    /\{\{- if \.Suffix \}\}<fim_prefix>\{\{ \.Prompt \}\}<fim_suffix>\{\{ \.Suffix \}\}<fim_middle>/,
  );
  assert.equal(json.parameters, "num_ctx 2048");
  assert.deepEqual(json.details, DETAILS);
  assert.equal(json.model_info["gpt_bigcode.context_length"], 2048);
  assert.equal(json.model_info["gpt_bigcode.embedding_length"], 64);
  assert.deepEqual(json.capabilities, ["completion", "insert"]);
});

Deno.test("/api/tags and /api/show name the format of the model's file", async () => {
  const engine = new FakeEngine(), { model } = engine;
  Object.defineProperty(engine, "model", { value: { ...model, fileFormat: "gguf" } });
  const app = openApp(engine), tags = await get(app, "/api/tags");
  assert.equal(tags.json.models[0].details.format, "gguf");
  const show = await post(app, "/api/show", { model: model.id });
  assert.equal(show.json.details.format, "gguf");
});

Deno.test("/api/show says nothing of infill for a model without the tokens, and knows the older field", async () => {
  const engine = new FakeEngine(), { model } = engine;
  Object.defineProperty(engine, "model", {
    value: { ...model, fim: { supported: false, missing: ["prefix"] } },
  });
  const { json } = await post(openApp(engine), "/api/show", { name: "fake/model-1:latest" });
  assert.equal(json.template, "{{ .Prompt }}");
  assert.deepEqual(json.capabilities, ["completion"]);
});

Deno.test("/api/show answers 404 in Ollama's shape to another model", async () => {
  const reply = await post(openApp(new FakeEngine()), "/api/show", { model: "llama3" });
  assert.equal(reply.status, 404);
  assert.deepEqual(reply.json, { error: 'model "llama3" not found, try pulling it first' });
});

Deno.test("/api/ps and /api/version say what runs", async () => {
  const app = createApp(new FakeEngine(), { apiKeys: [], version: "1.2.3" });
  assert.deepEqual((await get(app, "/api/version")).json, { version: "1.2.3" });
  const [running] = (await get(app, "/api/ps")).json.models;
  assert.deepEqual([running.name, running.size_vram, running.context_length], [
    "fake/model-1:latest",
    0,
    2048,
  ]);
});

Deno.test("an unknown route of Ollama's is told in Ollama's shape", async () => {
  for (const path of ["/api/pull", "/api"]) {
    const reply = await post(openApp(new FakeEngine()), path, {});
    assert.equal(reply.status, 404);
    assert.deepEqual(reply.json, { error: `Unknown route: POST ${path}; GET /docs lists the routes` });
  }
});

Deno.test("GET / tells Ollama's clients that somebody is there, and shows a browser the reference", async () => {
  const app = openApp(new FakeEngine());
  assert.equal((await get(app, "/")).text, "Ollama is running");
  assert.equal((await get(app, "/", { Accept: "application/json" })).text, "Ollama is running");
  assert.equal((await get(app, "/", { Accept: "text/html" })).headers.get("location"), "/docs");
});
