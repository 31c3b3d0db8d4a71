// What is refused before the engine is asked, in every dialect: to the byte keys, methods, routes, and bodies that do not
// come, are too large or are none; and fields that pass the limits that a dialect has.
import assert from "node:assert/strict";
import { bareKeys } from "../../routes/api_keys.ts";
import { createApp } from "../../routes/app.ts";
import { type DialectName, DIALECTS } from "./dialect_bodies.ts";
import { ALL_DIALECTS, assertError, expected, type Family, type Wording } from "./dialect_wording.ts";
import { FakeEngine } from "./fake_engine.ts";
import { get, openApp, post } from "./requests.ts";

const NEEDS_KEY: Wording = {
  openai: { status: 401, type: "invalid_request_error", code: "invalid_api_key" },
  llama: { status: 401, type: "authentication_error" },
  tgi: { status: 401, type: "" },
  ...{ ollama: 401, tabby: 401 },
};

Deno.test("every dialect has its own words for a key that is missing or wrong, on the routes that only look, too", async () => {
  const app = createApp(new FakeEngine(), { apiKeys: bareKeys(["good"]) });
  const looking: [path: string, family: Family][] = [
    ...(["/props", "/slots", "/models"] as const).map((path) => [path, "llama"] as [string, Family]),
    ...(["/info", "/ping"] as const).map((path) => [path, "tgi"] as [string, Family]),
    ...(["/api/tags", "/api/version", "/api/ps"] as const).map((path) =>
      [path, "ollama"] as [string, Family]
    ),
    ["/v1beta/models", "tabby"],
    ["/v1/models", "openai"],
  ];
  const needed = 'This server needs an API key: send it as "Authorization: Bearer KEY"';
  for (
    const [headers, message] of [[{}, needed], [{ Authorization: "Bearer " }, needed], [
      { "X-Api-Key": "bad" },
      "Incorrect API key provided",
    ]] as const
  ) {
    for (const [path, family] of looking) {
      const reply = await get(app, path, headers);
      assertError(reply, family, expected(family, NEEDS_KEY, message, null), path);
      assert.equal(reply.headers.get("www-authenticate"), "Bearer", path);
    }
    for (const { name, family, path, body } of ALL_DIALECTS) {
      // Whose body it is on OpenAI's and Tabby's path is not known before it is read.
      const told = family === "tabby" ? "openai" : family;
      const reply = await post(app, path, body, headers);
      assertError(reply, told, expected(told, NEEDS_KEY, message, null), name);
    }
  }
});

Deno.test("every dialect has its own words for a method or a route that there is not", async () => {
  const app = openApp(new FakeEngine());
  const wrong: [path: string, family: Family, allow: string][] = [
    ["/v1/completions", "openai", "POST"],
    ["/v1/fim/completions", "openai", "POST"],
    ["/infill", "llama", "POST"],
    ["/completion", "llama", "POST"],
    ["/tokenize", "llama", "POST"],
    ["/generate", "tgi", "POST"],
    ["/api/generate", "ollama", "POST"],
    ["/v1/events", "tabby", "POST"],
  ];
  const method: Wording = {
    openai: { status: 405, type: "invalid_request_error", code: "method_not_allowed" },
    llama: { status: 405, type: "invalid_request_error" },
    tgi: { status: 405, type: "validation" },
    ...{ ollama: 405, tabby: 405 },
  };
  for (const [path, family, allow] of wrong) {
    const reply = await get(app, path);
    const message = `${path} does not answer to GET: use ${allow}`;
    assertError(reply, family, expected(family, method, message, null), path);
    assert.equal(reply.headers.get("allow"), allow);
  }
  const route: Wording = {
    openai: { status: 404, type: "invalid_request_error", code: "unknown_route" },
    llama: { status: 404, type: "not_found_error" },
    tgi: { status: 404, type: "validation" },
    ...{ ollama: 404, tabby: 404 },
  };
  const unknown: [path: string, family: Family][] = [
    ["/v1/chat/completions", "openai"],
    ["/apply-template", "llama"],
    ["/api/chat", "ollama"],
    ["/v1beta/search", "tabby"],
  ];
  for (const [path, family] of unknown) {
    const instead = path.includes("chat") ? "the models complete text and do not chat; " : "";
    const message = `Unknown route: POST ${path}; ${instead}GET /docs lists the routes`;
    assertError(await post(app, path, {}), family, expected(family, route, message, null), path);
  }
});

interface BadBody {
  readonly body: () => BodyInit;
  readonly type?: string;
  readonly status: number;
  readonly code: string | null;
  readonly message: string;
}

/** They say nothing of whose they are: on the path of two dialects they are told in OpenAI's words. */
const BAD_BODIES: readonly BadBody[] = [
  {
    body: () => new ReadableStream(),
    ...{ status: 408, code: "body_timeout", message: "The request body must arrive within 0.05 s" },
  },
  {
    body: () => `{"prompt":"${"x".repeat(1000)}"}`,
    ...{ status: 413, code: "request_too_large" },
    message: "The request body must be at most 1000 bytes; the server takes larger ones with --max-body",
  },
  {
    ...{ body: () => "a=b", type: "text/plain", status: 415, code: "unsupported_media_type" },
    message: "Content-Type must be application/json, received text/plain",
  },
  {
    ...{ body: () => "[1]", status: 400, code: null },
    message: "The body must be a JSON object, received an array of 1",
  },
  {
    ...{ body: () => "", status: 400, code: null },
    message: "The body must be a JSON object, received nothing",
  },
];

Deno.test("every dialect has its own words for a body that does not come, is too large, or is none", async () => {
  const app = createApp(new FakeEngine(), { apiKeys: [], bodyTimeoutMs: 50, bodyLimitBytes: 1000 });
  for (const { name, family, path } of ALL_DIALECTS) {
    const told = family === "tabby" ? "openai" : family;
    for (const { body, type = "application/json", status, code, message } of BAD_BODIES) {
      const wording: Wording = {
        openai: { status, type: "invalid_request_error", code },
        llama: { status, type: "invalid_request_error" },
        tgi: { status: status === 400 ? 422 : status, type: "validation" },
        ...{ ollama: status, tabby: status },
      };
      const headers = { "Content-Type": type };
      const response = await app.request(path, { method: "POST", headers, body: body() });
      const wanted = expected(told, wording, message, null);
      assert.deepEqual([response.status, await response.text()], wanted, `${name}: ${message}`);
    }
  }
});

/** Fields at the limit, one step past it, and what is said of that. */
type Limit = readonly [within: Record<string, unknown>, beyond: Record<string, unknown>, said: RegExp];

const parameters = (fields: Record<string, unknown>) => ({ parameters: fields });
const segments = (fields: Record<string, unknown>) => ({ segments: { prefix: "p", ...fields } });
const times = <T>(count: number, item: T) => Array<T>(count).fill(item);
const stops = (name = "stop", fieldsOf = (stop: string[]): Record<string, unknown> => ({ stop })): Limit => [
  fieldsOf(times(128, "a")),
  fieldsOf(times(129, "a")),
  new RegExp(`^"${name}" must be a string or an array of at most 128 strings, received an array of 129`),
];
const snippet = { filepath: "a.py", body: "a" };

const LIMITS: Readonly<Partial<Record<DialectName, readonly Limit[]>>> = {
  openai: [
    [{ n: 128 }, { n: 129 }, /^"n" must be at most 128, received 129$/],
    [{ best_of: 20 }, { best_of: 21 }, /^"best_of" must be at most 20, received 21$/],
    [{ logprobs: 20 }, { logprobs: 21 }, /^"logprobs" must be at most 20, received 21$/],
    stops(),
    [{ temperature: 2 }, { temperature: 2.5 }, /^"temperature" must be at most 2, received 2.5$/],
  ],
  "llama infill": [
    stops(),
    [{ n_cmpl: 128 }, { n_cmpl: 129 }, /^"n_cmpl" must be at most 128, received 129$/],
    [{ n_probs: 20 }, { n_probs: 21 }, /^"n_probs" must be at most 20, received 21$/],
    [{ filename: "a".repeat(4096) }, { filename: "a".repeat(4097) }, /^"filename" must be at most 4096 char/],
    [
      { input_extra: times(4096, { text: "" }) },
      { input_extra: times(4097, { text: "" }) },
      /^"input_extra" must have at most 4096 items, received 4097$/,
    ],
  ],
  "llama completion": [
    stops(),
    [{ n_cmpl: 128 }, { n_cmpl: 129 }, /^"n_cmpl" must be at most 128, received 129$/],
    [{ n_predict: -2 }, { n_predict: -3 }, /^"n_predict" must be at least -2, received -3$/],
  ],
  tgi: [
    [
      parameters({ best_of: 8, do_sample: true }),
      parameters({ best_of: 9, do_sample: true }),
      /^"parameters.best_of" must be at most 8, received 9$/,
    ],
    [
      parameters({ stop: times(4, "a") }),
      parameters({ stop: times(5, "a") }),
      /^"parameters.stop" must be .* 4 /,
    ],
    [
      parameters({ top_n_tokens: 5 }),
      parameters({ top_n_tokens: 6 }),
      /^"parameters.top_n_tokens" must be at mo/,
    ],
    [parameters({ truncate: 1 }), parameters({ truncate: 0 }), /^"parameters.truncate" must be at least 1, /],
  ],
  ollama: [
    stops("options.stop", (stop) => ({ options: { stop } })),
    [
      { logprobs: true, top_logprobs: 20 },
      { logprobs: true, top_logprobs: 21 },
      /^"top_logprobs" must be at most 20, received 21$/,
    ],
  ],
  tabby: [
    [
      segments({ filepath: "a".repeat(4096) }),
      segments({ filepath: "a".repeat(4097) }),
      /^"segments.filepath" must be at most 4096 characters long, /,
    ],
    [
      segments({ declarations: times(4096, snippet) }),
      segments({ declarations: times(4097, snippet) }),
      /^"segments.declarations" must have at most 4096 items, received 4097$/,
    ],
  ],
};

Deno.test("every dialect takes what is at its limits, and refuses what is beyond by its name", async () => {
  const engine = new FakeEngine(), app = openApp(engine);
  for (const { name, family, path, body } of ALL_DIALECTS) {
    const { rules } = DIALECTS[name],
      session = (count: number) => rules({ session_id: "a".repeat(count) }, 8);
    const prefix = family === "tgi" ? "parameters." : "";
    const everybody = [
      session(256),
      session(257),
      RegExp(`^"${prefix}session_id" must be at most 256 `),
    ] as const;
    for (const [within, beyond, said] of [everybody, ...LIMITS[name] ?? []]) {
      const taken = await post(app, path, { ...body, ...within });
      assert.equal(taken.status, 200, `${name}: ${said}: ${taken.text.slice(0, 300)}`);
      const asked = engine.requests.length, refused = await post(app, path, { ...body, ...beyond });
      assert.equal(refused.status, family === "tgi" ? 422 : 400, `${name}: ${said}`);
      const { error } = refused.json ?? { error: refused.text };
      assert.match(error.message ?? error, said);
      assert.equal(engine.requests.length, asked, `${name}: ${said}: the engine was asked`);
    }
  }
});
