// `serve` with several models, as its own process: loaded when they are named, evicted when there is no room.
import { deepStrictEqual, equal, match, ok } from "node:assert/strict";
import { modelFacts } from "../../models/model_facts.ts";
import { startServer } from "./running_server.ts";

const FIRST = "tests/fixtures/checkpoints/mqa-d40-f32",
  SECOND = "tests/fixtures/checkpoints/starcoder2-gqa-window-f32";
const THIRD = "tests/fixtures/gguf/qwen2-q8_0.gguf";
const KV = 2 ** 22;

Deno.test("serve loads models when requests name them, and evicts idle ones to keep within --models-memory", async () => {
  const sizes = await Promise.all(
    [FIRST, SECOND, THIRD].map(async (modelDir) =>
      (await modelFacts({ modelDir, device: "cpu", kvBytes: KV })).memory.cpu
    ),
  );
  // Any two of them, but not all three.
  const memory = String(sizes.reduce((a, b) => a + b) - 1);
  const flags = [
    "--also",
    SECOND,
    "--also",
    THIRD,
    "--models-memory",
    memory,
    "--kv-memory",
    `${KV}`,
    "--log-level",
    "info",
  ];
  await using server = await startServer(flags);
  const get = async (path: string) => await (await fetch(server.url(path))).json();
  const complete = async (model: string | undefined) => {
    const body = JSON.stringify({ ...(model !== undefined && { model }), prompt: "abc", max_tokens: 2 });
    const headers = { "content-type": "application/json" };
    const reply = await fetch(server.url("/v1/completions"), { method: "POST", headers, body });
    const json = await reply.json();
    return reply.status === 200 ? json.model : `${reply.status} ${json.error.code}: ${json.error.message}`;
  };
  const phases = async () => {
    const { status, model, models } = await get("/readyz");
    deepStrictEqual([status, model], ["ready", "mqa-d40-f32"]);
    return models.map((each: { phase: string; users: number }) => `${each.phase} ${each.users}`);
  };

  const { data } = await get("/v1/models");
  deepStrictEqual(
    data.map((item: { id: string; meta: { n_params: number; n_embd: number } }) => [
      item.id,
      item.meta.n_params > 1e5,
      item.meta.n_embd,
    ]),
    [["mqa-d40-f32", true, 80], ["starcoder2-gqa-window-f32", true, 96], ["qwen2-q8_0", true, 96]],
  );
  equal((await get("/v1/models/qwen2-q8_0")).max_model_len, 192);
  deepStrictEqual(await phases(), ["ready 0", "unloaded 0", "unloaded 0"]);

  equal(await complete(undefined), "mqa-d40-f32");
  equal(await complete("starcoder2-gqa-window-f32"), "starcoder2-gqa-window-f32");
  deepStrictEqual(await phases(), ["ready 0", "ready 0", "unloaded 0"]);
  equal(await complete("qwen2-q8_0"), "qwen2-q8_0");
  deepStrictEqual(await phases(), ["unloaded 0", "ready 0", "ready 0"]);
  equal(await complete(""), "mqa-d40-f32");
  deepStrictEqual(await phases(), ["ready 0", "unloaded 0", "ready 0"]);
  match(
    await complete("gpt-4"),
    /^404 model_not_found: The model "gpt-4" does not exist: this server has "mqa-d40-f32", "starcoder2-gqa-window-f32", "qwen2-q8_0"$/,
  );

  // Ollama's names have a tag, and its errors a shape of their own.
  const ollama = async (model: string) => {
    const body = JSON.stringify({ model, prompt: "abc", stream: false, options: { num_predict: 2 } });
    const headers = { "content-type": "application/json" };
    const reply = await fetch(server.url("/api/generate"), { method: "POST", headers, body });
    const json = await reply.json();
    return `${reply.status} ${json.model ?? json.error}`;
  };
  equal(await ollama("qwen2-q8_0:latest"), "200 qwen2-q8_0:latest");
  equal(await ollama("gpt-4"), '404 model "gpt-4" not found, try pulling it first');
  const names = async (path: string) => (await get(path)).models.map(({ name }: { name: string }) => name);
  deepStrictEqual(await names("/api/tags"), [
    "mqa-d40-f32:latest",
    "starcoder2-gqa-window-f32:latest",
    "qwen2-q8_0:latest",
  ]);
  deepStrictEqual(await names("/api/ps"), ["mqa-d40-f32:latest", "qwen2-q8_0:latest"]);

  const metrics = await (await fetch(server.url("/metrics"))).text();
  const modelsOf = (name: string) =>
    [...metrics.matchAll(new RegExp(`^vllm:${name}\\{.*model_name="([^"]*)".*\\} (\\d+)$`, "gm"))].map((
      [, model, count],
    ) => `${model} ${count}`);
  // Of what is loaded the engines tell; of requests what was served, whatever has become of the model.
  deepStrictEqual(modelsOf("num_requests_running").sort(), ["mqa-d40-f32 0", "qwen2-q8_0 0"]);
  deepStrictEqual(modelsOf("e2e_request_latency_seconds_count").sort(), [
    "mqa-d40-f32 2",
    "qwen2-q8_0 2",
    "starcoder2-gqa-window-f32 1",
  ]);

  const events = server.printed().split("\n").filter((line) => line.includes('"event":"model ')).map(
    (line) => {
      const { event, model } = JSON.parse(line);
      return `${event} ${model}`;
    },
  );
  deepStrictEqual(events.slice(2), [
    "model loading starcoder2-gqa-window-f32",
    "model loaded starcoder2-gqa-window-f32",
    "model evicted mqa-d40-f32",
    "model loading qwen2-q8_0",
    "model loaded qwen2-q8_0",
    "model evicted starcoder2-gqa-window-f32",
    "model loading mqa-d40-f32",
    "model loaded mqa-d40-f32",
  ]);
});

const PROMPT = "def add(a, b):\n", SUFFIX = "\n# end\n";

/** By dialect: the completion of PROMPT alone, and between PROMPT and SUFFIX, where a dialect has its own field for it. */
const DIALECTS: readonly {
  readonly path: (model: string) => string;
  readonly body: (model: string) => Record<string, unknown>;
  readonly suffix?: Record<string, unknown>;
  // deno-lint-ignore no-explicit-any -- the reply's JSON
  readonly text: (reply: any) => string;
}[] = [
  {
    path: () => "/v1/completions",
    body: (model) => ({ model, prompt: PROMPT, max_tokens: 8, temperature: 0 }),
    suffix: { suffix: SUFFIX },
    text: ({ choices }) => choices[0].text,
  },
  {
    path: () => "/v1/fim/completions",
    body: (model) => ({ model, prompt: PROMPT, max_tokens: 8, temperature: 0 }),
    suffix: { suffix: SUFFIX },
    text: ({ choices }) => choices[0].message.content,
  },
  {
    path: () => "/completion",
    body: (model) => ({ model, prompt: PROMPT, n_predict: 8, temperature: 0 }),
    text: ({ content }) => content,
  },
  {
    path: () => "/infill",
    body: (model) => ({ model, input_prefix: PROMPT, input_suffix: "", n_predict: 8, temperature: 0 }),
    suffix: { input_suffix: SUFFIX },
    text: ({ content }) => content,
  },
  {
    path: (model) => model === "" ? "/" : `/models/${model}`,
    body: () => ({ inputs: PROMPT, parameters: { max_new_tokens: 8 } }),
    text: ([{ generated_text }]) => generated_text,
  },
  {
    path: () => "/api/generate",
    body: (model) => ({
      model: model && `${model}:latest`,
      prompt: PROMPT,
      stream: false,
      options: { num_predict: 8, temperature: 0 },
    }),
    suffix: { suffix: SUFFIX },
    text: ({ response }) => response,
  },
];

Deno.test("serve has the same two models in every dialect", async () => {
  await using server = await startServer(["--also", SECOND, "--kv-memory", `${KV}`]);
  const send = async (path: string, body?: unknown) => {
    const reply = await fetch(
      server.url(path),
      body === undefined
        ? {}
        : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) },
    );
    const json = await reply.json();
    equal(reply.status, 200, JSON.stringify(json));
    return json;
  };
  // Before the second is loaded Ollama's clients see what it can.
  const shown = await send("/api/show", { model: "starcoder2-gqa-window-f32" });
  deepStrictEqual(shown.capabilities, ["completion", "insert"]);
  equal(shown.details.family, "starcoder2");
  equal((await send("/api/ps")).models.length, 1);
  const { models } = await send("/readyz");
  equal(models[1].phase, "unloaded");

  const texts = async (model: string) => {
    const [continued, filledIn] = await Promise.all([false, true].map((infill) =>
      Promise.all(
        DIALECTS.filter(({ suffix, path }) =>
          infill ? suffix : path("") !== "/infill" && !/fim/.test(path(""))
        )
          .map(async ({ path, body, suffix, text }) =>
            text(await send(path(model), { ...body(model), ...(infill && suffix) }))
          ),
      )
    ));
    for (const same of [continued, filledIn]) {
      ok(same.length >= 4);
      deepStrictEqual(same, Array(same.length).fill(same[0]), model);
    }
    return [continued[0], filledIn[0]];
  };
  const [unnamed, first, second] = [
    await texts(""),
    await texts("mqa-d40-f32"),
    await texts("starcoder2-gqa-window-f32"),
  ];
  deepStrictEqual(unnamed, first);
  ok(first.every((text, i) => text !== second[i]), `${first} and ${second}`);
  equal((await send("/api/ps")).models.length, 2);
  // What a model that is loaded says of itself is what its files said before.
  deepStrictEqual(await send("/api/show", { model: "starcoder2-gqa-window-f32" }), shown);
  // What the playground and the language server take for the served one.
  equal((await send("/v1/models")).data[0].id, "mqa-d40-f32");
});
