import assert from "node:assert/strict";
import { bareKeys } from "../../routes/api_keys.ts";
import { createApp } from "../../routes/app.ts";
import { FakeEngine } from "./fake_engine.ts";
import { get, openApp, post } from "./requests.ts";

// deno-lint-ignore no-explicit-any
type Json = any;

/** Every `$ref` in the document. */
function references(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => key === "$ref" ? [inner] : references(inner));
}

Deno.test("/openapi.json describes every route there is", async () => {
  const app = openApp(new FakeEngine());
  const { json } = await get(app, "/openapi.json");
  assert.equal(json.openapi, "3.1.0");
  const described = Object.keys(json.paths).map((path) => path.replace("{id}", ":id{.+}"));
  const aliases = ["/docs", "/openapi.json", "/completions", "/models"];
  const served = app.routes.filter(({ method }) => method !== "ALL").map(({ path }) => path);
  assert.deepEqual(new Set([...described, ...aliases]), new Set(served));
  for (const reference of references(json)) {
    assert.ok(json.components.schemas[reference.replace("#/components/schemas/", "")], reference);
  }
});

Deno.test("/openapi.json has the bounds and defaults that validation has", async () => {
  const { json } = await get(openApp(new FakeEngine()), "/openapi.json");
  const { properties, required } = json.components.schemas.CompletionRequest;
  assert.deepEqual(required, ["prompt"]);
  assert.equal(properties.max_tokens.default, 16);
  assert.equal(properties.max_tokens.minimum, 0);
  assert.equal(properties.temperature.maximum, 2);
  assert.equal(properties.seed.format, "int64");
  assert.equal(properties.prompt.anyOf.length, 4);
  assert.deepEqual(json.components.schemas.InfillRequest.required, ["input_prefix", "input_suffix"]);
});

Deno.test("/openapi.json says what each field of a request means, and when probes answer 503", async () => {
  const { json } = await get(openApp(new FakeEngine()), "/openapi.json");
  for (const name of ["CompletionRequest", "InfillRequest", "NativeCompletionRequest"]) {
    const { schemas } = json.components;
    const fields = Object.entries<{ description?: string; $ref?: string }>(schemas[name].properties);
    // What the first field of a component says stands with the component.
    const said = ({ description, $ref }: typeof fields[0][1]) =>
      description ?? schemas[$ref?.split("/").at(-1) ?? ""]?.description;
    assert.deepEqual(fields.filter(([, field]) => !said(field)), [], name);
  }
  assert.ok(json.paths["/health"].get.responses["503"]);
  assert.ok(json.paths["/readyz"].get.responses["503"]);
});

Deno.test("/openapi.json asks for a key only where there is one", async () => {
  const secured = await get(createApp(new FakeEngine(), { apiKeys: bareKeys(["k"]) }), "/openapi.json");
  assert.deepEqual(secured.json.security, [{ bearer: [] }, { apiKey: [] }]);
  assert.deepEqual(secured.json.paths["/healthz"].get.security, []);
  const open = (await get(openApp(new FakeEngine()), "/openapi.json")).json;
  assert.equal(open.security, undefined);
  for (const { components } of [open, secured.json]) {
    assert.deepEqual(components.securitySchemes, {
      bearer: { type: "http", scheme: "bearer" },
      apiKey: { type: "apiKey", in: "header", name: "X-Api-Key" },
    });
  }
});

Deno.test("/openapi.json has the headers of requests, their statuses, and the fields of objects within them", async () => {
  const { json } = await get(openApp(new FakeEngine()), "/openapi.json");
  for (const path of ["/v1/completions", "/infill"]) {
    const { parameters, responses } = json.paths[path].post;
    assert.deepEqual(
      parameters.map((
        one: { in: string; name: string; required?: boolean },
      ) => [one.in, one.name, !one.required]),
      ["X-Session-Id", "X-Priority", "X-Request-Id"].map((name) => ["header", name, true]),
    );
    for (const status of [400, 401, 404, 405, 408, 413, 415, 429, 431, 500, 501, 503]) {
      assert.ok(responses[status], `${path} ${status}`);
    }
  }
  assert.ok(json.paths["/slots"].get.responses["403"]);
  const { ResponseFormat, StructuredOutputs } = json.components.schemas;
  assert.deepEqual(Object.keys(ResponseFormat.properties), ["type", "json_schema", "schema"]);
  assert.deepEqual(Object.keys(StructuredOutputs.properties), [
    "regex",
    "json",
    "json_object",
    "grammar",
    "choice",
  ]);
  assert.equal(StructuredOutputs.additionalProperties, false);
});

Deno.test("/openapi.json has an example of every request, which is served", async () => {
  const app = openApp(new FakeEngine());
  const { json } = await get(app, "/openapi.json");
  let count = 0;
  for (const [path, { post: route }] of Object.entries<{ post?: Json }>(json.paths)) {
    if (!route?.requestBody) continue;
    const { example } = route.requestBody.content["application/json"];
    const { status, text } = await post(app, path, example);
    assert.equal(status, 200, `${path}: ${text}`);
    count++;
  }
  assert.ok(count >= 11, `${count}`);
});

Deno.test("/openapi.json has each dialect's errors", async () => {
  const { json } = await get(openApp(new FakeEngine()), "/openapi.json");
  for (
    const [path, name] of [["/infill", "Error"], ["/generate", "TgiError"], [
      "/api/generate",
      "OllamaError",
    ]] as const
  ) {
    const { schema } = json.paths[path].post.responses["503"].content["application/json"];
    assert.equal(schema.$ref, `#/components/schemas/${name}`);
  }
});

Deno.test("/docs is one page that loads nothing from elsewhere", async () => {
  const app = openApp(new FakeEngine());
  const { status, text, headers } = await get(app, "/docs");
  assert.equal(status, 200);
  assert.match(headers.get("content-type")!, /^text\/html/);
  assert.match(headers.get("content-security-policy")!, /^default-src 'none'/);
  assert.doesNotMatch(text, /https?:|src=|innerHTML/);
  assert.match(text, /fetch\("\/openapi.json"\)/);
  assert.equal((await get(app, "/", { Accept: "text/html,*/*" })).headers.get("location"), "/docs");
});
