// Two models behind one server: every dialect gives a request to the one that it names, in the place where the dialect has
// the name; and who only looks loads nothing.
import assert from "node:assert/strict";
import { createApp } from "../../routes/app.ts";
import { HttpServer } from "../../routes/http_server.ts";
import { until } from "./delay.ts";
import { FakeEngine } from "./fake_engine.ts";
import { openFakePool } from "./fake_pool.ts";
import { get, openApp, post, type Reply } from "./requests.ts";

const FIRST = "org/first", SECOND = "second-2b";

/** Engines that answer with their number, whatever they are asked. */
function twoEngines(): [FakeEngine, FakeEngine] {
  const numbered = (number: string, id: string) => {
    const engine = new FakeEngine({ tokens: [number] }, id);
    engine.tokenize = () => Promise.resolve([Number(number)]);
    engine.detokenize = () => Promise.resolve(number);
    return engine;
  };
  return [numbered("1", FIRST), numbered("2", SECOND)];
}

interface Route {
  readonly path: (model: string | undefined) => string;
  readonly body: (model: string | undefined) => Record<string, unknown>;
  readonly answer: (reply: Reply) => string;
  readonly unknown: (reply: Reply) => void;
}

const named = (fields: Record<string, unknown>) => (model: string | undefined) =>
  model === undefined ? fields : { ...fields, model };
const at = (path: string) => () => path;
const MESSAGE = `The model "gpt-4" does not exist: this server has "${FIRST}", "${SECOND}"`;

function openAiUnknown({ json }: Reply) {
  const error = { message: MESSAGE, type: "invalid_request_error", param: "model", code: "model_not_found" };
  assert.deepEqual(json.error, error);
}

function llamaUnknown({ json }: Reply) {
  assert.deepEqual(json, { error: { code: 404, message: MESSAGE, type: "not_found_error", param: "model" } });
}

const openAi = { answer: ({ json }: Reply) => json.choices[0].text, unknown: openAiUnknown };
const llama = { answer: ({ json }: Reply) => json.content, unknown: llamaUnknown };

const ROUTES: Readonly<Record<string, Route>> = {
  "openai": { path: at("/v1/completions"), body: named({ prompt: "x" }), ...openAi },
  "openai stream": {
    path: at("/v1/completions"),
    body: named({ prompt: "x", stream: true }),
    answer: ({ text }) => /"text":"(\d)"/.exec(text)![1]!,
    unknown: openAiUnknown,
  },
  "openai fim": {
    path: at("/v1/fim/completions"),
    body: named({ prompt: "x" }),
    answer: ({ json }) => json.choices[0].message.content,
    unknown: openAiUnknown,
  },
  "llama infill": { path: at("/infill"), body: named({ input_prefix: "p", input_suffix: "s" }), ...llama },
  "llama completion": { path: at("/completion"), body: named({ prompt: "x" }), ...llama },
  "llama completions": { path: at("/completions"), body: named({ prompt: ["x", 1] }), ...llama },
  "llama tokenize": {
    path: at("/tokenize"),
    body: named({ content: "x" }),
    answer: ({ json }) => `${json.tokens[0]}`,
    unknown: llamaUnknown,
  },
  "llama detokenize": { path: at("/detokenize"), body: named({ tokens: [9] }), ...llama },
  "tgi": {
    path: (model = "") => model === "" ? "/" : `/models/${model}`,
    body: () => ({ inputs: "x" }),
    answer: ({ json }) => json[0].generated_text,
    unknown: ({ json }) => assert.deepEqual(json, { error: MESSAGE, error_type: "validation" }),
  },
  "ollama": {
    path: at("/api/generate"),
    body: named({ prompt: "x", stream: false }),
    answer: ({ json }) => json.response,
    unknown: ({ json }) => assert.deepEqual(json, { error: 'model "gpt-4" not found, try pulling it first' }),
  },
};

for (const [name, { path, body, answer, unknown }] of Object.entries(ROUTES)) {
  const ask = (app: Parameters<typeof post>[0], model: string | undefined) =>
    post(app, path(model), body(model));

  Deno.test(`${name}: gives a request to the model that it names, or else to the first`, async () => {
    await using models = openFakePool(twoEngines());
    const app = openApp(models.pool);
    for (const [model, expected] of [[undefined, "1"], [SECOND, "2"], [FIRST, "1"], ["", "1"]]) {
      const reply = await ask(app, model);
      assert.equal(reply.status, 200, reply.text);
      assert.equal(answer(reply), expected, `of ${model}`);
    }
    assert.deepEqual(models.loaded, [FIRST, SECOND]);
  });

  Deno.test(`${name}: answers 404 to a name that there is not, in the dialect's shape`, async () => {
    await using models = openFakePool(twoEngines());
    const reply = await ask(openApp(models.pool), "gpt-4");
    assert.equal(reply.status, 404, reply.text);
    unknown(reply);
    const tagged = await ask(openApp(models.pool), `${SECOND}:latest`);
    assert.equal(tagged.status, name === "ollama" ? 200 : 404, "only Ollama's names have a tag");
    if (name === "ollama") assert.equal(answer(tagged), "2");
  });
}

Deno.test("a single model is found under any name by the dialects whose servers do not look at it", async () => {
  const app = openApp(new FakeEngine());
  const status = async (name: string) =>
    (await post(app, ROUTES[name]!.path("x"), ROUTES[name]!.body("x"))).status;
  for (const name of Object.keys(ROUTES)) {
    assert.equal(await status(name), /^(llama|tgi)/.test(name) ? 200 : 404, name);
  }
});

Deno.test("TGI's other routes and Tabby's, which name no model, have the first", async () => {
  await using models = openFakePool(twoEngines());
  const app = openApp(models.pool);
  assert.equal((await post(app, "/generate", { inputs: "x" })).json.generated_text, "1");
  assert.match((await post(app, "/generate_stream", { inputs: "x" })).text, /"generated_text":"1"/);
  const tabby = await post(app, "/v1/completions", { segments: { prefix: "p" }, model: SECOND });
  assert.equal(tabby.json.choices[0].text, "1");
  assert.equal((await get(app, "/info")).json.model_id, FIRST);
  assert.equal((await get(app, "/v1/health")).json.model, FIRST);
  assert.deepEqual((await get(app, "/v1beta/models")).json.completion, [FIRST]);
  assert.deepEqual(models.loaded, [FIRST]);
});

Deno.test("lists have all models, and show of each what it is, without loading any", async () => {
  await using models = openFakePool(twoEngines());
  const app = openApp(models.pool);
  const ids = (items: { id: string }[]) => items.map(({ id }) => id);
  for (const path of ["/v1/models", "/models"]) {
    const { data, models } = (await get(app, path)).json;
    assert.deepEqual([ids(data), models.map(({ model }: { model: string }) => model)], [
      [FIRST, SECOND],
      [FIRST, SECOND],
    ]);
  }
  assert.equal((await get(app, `/v1/models/${SECOND}`)).json.id, SECOND);
  assert.equal((await get(app, `/v1/models/${FIRST}`)).json.id, FIRST);
  openAiUnknown(await get(app, "/v1/models/gpt-4"));
  const { models: tags } = (await get(app, "/api/tags")).json;
  assert.deepEqual(tags.map(({ name }: { name: string }) => name), [`${FIRST}:latest`, `${SECOND}:latest`]);
  assert.deepEqual(tags[1].capabilities, ["completion", "insert"]);
  for (const model of [SECOND, `${SECOND}:latest`]) {
    const { json } = await post(app, "/api/show", { model });
    assert.equal(json.model_info["general.basename"], SECOND);
    assert.match(json.template, /\.Suffix/);
  }
  assert.equal((await post(app, "/api/show", {})).json.model_info["general.basename"], FIRST);
  assert.equal((await post(app, "/api/show", { model: "gpt-4" })).status, 404);
  assert.deepEqual(models.loaded, [FIRST]);
});

Deno.test("/api/ps lists what is loaded, and a request without a prompt has its model loaded", async () => {
  await using models = openFakePool(twoEngines());
  const app = openApp(models.pool);
  const running = async () =>
    (await get(app, "/api/ps")).json.models.map(({ name }: { name: string }) => name);
  await models.pool.choose(FIRST);
  assert.deepEqual(await running(), [`${FIRST}:latest`]);
  assert.equal((await post(app, "/api/generate", { model: SECOND, stream: false })).json.done_reason, "load");
  assert.deepEqual(await running(), [`${FIRST}:latest`, `${SECOND}:latest`]);
});

Deno.test("/slots, /blocks and /props tell of the model that the query names; the first two load none", async () => {
  const [first, second] = twoEngines();
  await using models = openFakePool([first, second]);
  const app = openApp(models.pool);
  first.blockMap = { device: new Uint8Array([0]), host: new Uint8Array() };
  second.blockMap = { device: new Uint8Array([0, 0]), host: new Uint8Array() };
  assert.equal((await get(app, "/props?autoload=true")).json.model_alias, FIRST);
  assert.deepEqual((await get(app, `/slots?model=${SECOND}`)).json, []);
  assert.equal((await get(app, `/blocks?model=${SECOND}`)).status, 503);
  const notLoaded = await get(app, `/props?model=${SECOND}&autoload=false`);
  assert.deepEqual([notLoaded.status, notLoaded.json.error.param], [400, "autoload"]);
  assert.deepEqual(models.loaded, [FIRST]);
  assert.equal((await get(app, `/props?model=${SECOND}`)).json.model_alias, SECOND);
  assert.equal((await get(app, `/props?model=${SECOND}&autoload=false`)).json.eos_token, "2");
  assert.deepEqual([
    (await get(app, "/blocks")).json.device,
    (await get(app, `/blocks?model=${SECOND}`)).json.device,
  ], [
    ".",
    "..",
  ]);
  for (const path of ["/slots", "/props", "/props?autoload=false", "/blocks"]) {
    const reply = await get(app, `${path}${path.includes("?") ? "&" : "?"}model=gpt-4`);
    assert.equal(reply.status, 404, path);
  }
});

Deno.test("/metrics count requests as their own model's, also while its engine is rebuilt", async () => {
  const [first, second] = twoEngines();
  await using models = openFakePool([first, second]);
  const app = openApp(models.pool);
  await models.pool.choose(SECOND);
  second.state = { phase: "rebuilding", reason: "The device was lost" };
  const { status } = await post(app, "/v1/completions", { model: SECOND, prompt: "p", max_tokens: 1 });
  assert.equal(status, 200);
  const { text } = await get(app, "/metrics");
  const finished = text.split("\n").filter((line) =>
    line.startsWith("vllm:request_success_total") && !line.endsWith(" 0")
  );
  assert.deepEqual(finished.map((line) => line.match(/model_name="([^"]*)"/)![1]), [SECOND]);
});

Deno.test("a client that leaves while its model is loaded is no error of the server's", async () => {
  const [first, second] = twoEngines();
  second.state = { phase: "loading", progress: 0 };
  const reported: unknown[] = [];
  // Its name is known while it loads, as that of a real one is.
  Object.defineProperty(second, "model", { value: { ...first.model, id: SECOND } });
  await using models = openFakePool([first, second]);
  const app = createApp(models.pool, { apiKeys: [], reportError: (error) => reported.push(error) });
  await using server = await HttpServer.listen(app.fetch, { hostname: "127.0.0.1", port: 0 });
  const leave = new AbortController();
  const sent = fetch(`http://127.0.0.1:${server.port}/infill`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model: SECOND, input_prefix: "p", input_suffix: "s" }),
    signal: leave.signal,
  });
  await until(() => models.loaded.includes(SECOND), "the model is being loaded");
  leave.abort();
  await assert.rejects(sent);
  await until(() => models.pool.statuses()[1]!.users === 0, "nobody waits for it any more");
  second.state = { phase: "ready" };
  await models.pool.choose(SECOND);
  assert.deepEqual([second.requests.length, reported], [0, []]);
});
