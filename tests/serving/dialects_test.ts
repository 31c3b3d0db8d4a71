// Every dialect on the default model: holes that editors make and servers trip over, whole and streamed; other files as
// the model was trained to see them; prompts that are too long.
import assert from "node:assert/strict";
import { DEFAULT_MODEL_DIR, DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { WorkerEngine } from "../../engine/worker_engine.ts";
import { createApp } from "../../routes/app.ts";

const MAX_TOKENS = 8;

interface Hole {
  readonly prefix: string;
  readonly suffix: string;
}

interface Dialect {
  readonly path: string;
  readonly body: (hole: Hole) => Record<string, unknown>;
  /** Fields that ask for rules of output. */
  readonly rules: (fields: Record<string, unknown>) => Record<string, unknown>;
  // deno-lint-ignore no-explicit-any
  readonly text: (reply: any) => string;
  readonly stream?: {
    readonly path?: string;
    readonly body: Record<string, unknown>;
    // deno-lint-ignore no-explicit-any
    readonly part: (event: any) => string;
  };
  /** Holds the completion to these characters, of which most tokens have only parts. */
  readonly only?: (text: string) => Record<string, unknown>;
}

const atTop = (fields: Record<string, unknown>) => fields;
/** As clients do that lay the prompt out themselves. */
const laidOut = ({ prefix, suffix }: Hole) => `<fim_prefix>${prefix}<fim_suffix>${suffix}<fim_middle>`;

const DIALECTS: Readonly<Record<string, Dialect>> = {
  openai: {
    path: "/v1/completions",
    body: ({ prefix, suffix }) => ({ prompt: prefix, suffix, max_tokens: MAX_TOKENS, temperature: 0 }),
    rules: atTop,
    text: ({ choices }) => choices[0].text,
    stream: { body: { stream: true }, part: ({ choices }) => choices[0].text },
    only: (text) => ({ guided_choice: [text] }),
  },
  "llama infill": {
    path: "/infill",
    body: ({ prefix, suffix }) => ({
      ...{ input_prefix: prefix, input_suffix: suffix },
      ...{ n_predict: MAX_TOKENS, temperature: 0 },
    }),
    rules: atTop,
    text: ({ content }) => content,
    stream: { body: { stream: true }, part: ({ content }) => content },
    only: (text) => ({ guided_choice: [text] }),
  },
  "llama completion": {
    path: "/completion",
    body: (hole) => ({ prompt: laidOut(hole), n_predict: MAX_TOKENS, temperature: 0 }),
    rules: atTop,
    text: ({ content }) => content,
    stream: { body: { stream: true }, part: ({ content }) => content },
    only: (text) => ({ guided_choice: [text] }),
  },
  tgi: {
    path: "/generate",
    body: (hole) => ({ inputs: laidOut(hole), parameters: { max_new_tokens: MAX_TOKENS } }),
    rules: (fields) => ({ parameters: { max_new_tokens: MAX_TOKENS, ...fields } }),
    text: ({ generated_text }) => generated_text,
    stream: { path: "/generate_stream", body: {}, part: ({ token }) => token.text },
    only: (text) => ({ parameters: { max_new_tokens: MAX_TOKENS, grammar: { type: "regex", value: text } } }),
  },
  ollama: {
    path: "/api/generate",
    body: ({ prefix, suffix }) => ({
      ...{ prompt: prefix, suffix, stream: false },
      options: { num_predict: MAX_TOKENS, temperature: 0 },
    }),
    rules: atTop,
    text: ({ response }) => response,
    stream: { body: { stream: true }, part: ({ response }) => response },
    only: (text) => ({ format: { enum: [text] } }),
  },
  tabby: {
    path: "/v1/completions",
    body: ({ prefix, suffix }) => ({ segments: { prefix, suffix }, temperature: 0 }),
    rules: atTop,
    text: ({ choices }) => choices[0].text,
  },
};

const HOLES: Readonly<Record<string, Hole>> = {
  "an empty prefix": { prefix: "", suffix: "\n\nprint(add(1, 2))\n" },
  "an empty file": { prefix: "", suffix: "" },
  "a line of 5,000 characters": { prefix: `total = ${"value_of_item + ".repeat(313)}`, suffix: "\n" },
  "emoji and CJK at the cursor": { prefix: 'names = ["漢字", "🙂', suffix: '👍🏽", "かな"]\n' },
  "half a character's worth of emoji": { prefix: 'flag = "🏳️‍🌈', suffix: '"\n' },
  "CRLF": { prefix: "def add(a, b):\r\n    return ", suffix: "\r\n\r\nprint(add(1, 2))\r\n" },
  "tabs": { prefix: "def add(a, b):\n\tif a:\n\t\treturn ", suffix: "\n\treturn b\n" },
  "a suffix of )": { prefix: "def f(x):\n    print(len(x", suffix: ")" },
  "control tokens as text": { prefix: 'token = "<fim_middle>', suffix: '<|endoftext|>"\n' },
};

interface Server extends AsyncDisposable {
  readonly post: (path: string, body: unknown) => Promise<{ status: number; text: string }>;
}

async function open(): Promise<Server> {
  const load = { modelDir: DEFAULT_MODEL_DIR, device: "cpu" } as const;
  const engine = new WorkerEngine({ modelId: DEFAULT_MODEL_ID, load });
  const app = createApp(engine, { apiKeys: [] });
  while (engine.state.phase === "loading") await new Promise((resolve) => setTimeout(resolve, 20));
  return {
    async post(path, body) {
      const headers = { "Content-Type": "application/json" };
      const response = await app.request(path, { method: "POST", headers, body: JSON.stringify(body) });
      return { status: response.status, text: await response.text() };
    },
    [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose](),
  };
}

async function whole(
  server: Server,
  { path, text }: Dialect,
  body: Record<string, unknown>,
): Promise<string> {
  const reply = await server.post(path, body);
  assert.equal(reply.status, 200, reply.text);
  return text(JSON.parse(reply.text));
}

async function parts(
  server: Server,
  { path, stream }: Dialect,
  body: Record<string, unknown>,
): Promise<string[]> {
  const reply = await server.post(stream!.path ?? path, { ...body, ...stream!.body });
  assert.equal(reply.status, 200, reply.text);
  const events = reply.text.split("\n").map((line) => line.replace(/^data: ?/, ""));
  return events.filter((event) => event !== "" && event !== "[DONE]").map((event) =>
    stream!.part(JSON.parse(event))
  );
}

/** No character is cut in two, neither between code units nor between bytes. */
function assertWholeCharacters(texts: readonly string[]) {
  for (const text of texts) assert.ok(text.isWellFormed() && !text.includes("\ufffd"), JSON.stringify(texts));
}

/** A prompt of more tokens than the model's context has. */
const TOO_LONG = "value = compute(value, 1)\n".repeat(1000);

async function fillsHoles(server: Server) {
  for (const [name, dialect] of Object.entries(DIALECTS)) {
    for (const [kind, hole] of Object.entries(HOLES)) {
      const body = dialect.body(hole);
      const text = await whole(server, dialect, body);
      assert.ok(text.isWellFormed());
      assert.doesNotMatch(text, /<fim_|<\|endoftext|<filename>/, `${name}: ${kind}`);
      if (!dialect.stream) continue;
      const all = await parts(server, dialect, body);
      assert.ok(all.every((part) => part.isWellFormed()));
      assert.equal(all.join(""), text, `${name}: ${kind}`);
    }
  }
}

async function holdsBackParts(server: Server) {
  const wanted = "🙂漢字é";
  for (const [name, dialect] of Object.entries(DIALECTS)) {
    if (!dialect.only) continue;
    const body = { ...dialect.body({ prefix: "x = ", suffix: "\n" }), ...dialect.only(wanted) };
    const most = { max_tokens: 40, n_predict: 40, options: { num_predict: 40, temperature: 0 } };
    const grammar = (body.parameters ?? {}) as Record<string, unknown>;
    const longer = {
      ...body,
      ...most,
      ...(name === "tgi" && { parameters: { ...grammar, max_new_tokens: 40 } }),
    };
    const all = await parts(server, dialect, longer);
    assertWholeCharacters(all);
    assert.equal(all.join("").replaceAll('"', ""), wanted, name);
    assert.ok(all.filter((part) => part !== "").length > 1, `${name} came at once: ${JSON.stringify(all)}`);
  }
}

async function cleansOutput(server: Server) {
  for (const [name, dialect] of Object.entries(DIALECTS)) {
    const lines = { prefix: "def add(a, b):\r\n", suffix: "\r\n\r\nprint(add(1, 2))\r\n" };
    const crlf = { ...dialect.body(lines), ...dialect.rules({ keep_crlf: true }) };
    assert.doesNotMatch(await whole(server, dialect, crlf), /(?<!\r)\n|\r(?!\n)/, name);
    const call = { prefix: "def f(x):\n    print(len(x", suffix: "))\n" };
    const cut = { ...dialect.body(call), ...dialect.rules({ scope: "line", trim_suffix: true }) };
    const line = "print(len(x" + await whole(server, dialect, cut) + "))";
    assert.equal(line.split("(").length, line.split(")").length, `${name}: ${line}`);
  }
}

async function cutsOrRefuses(server: Server) {
  const refused: [path: string, body: Record<string, unknown>, status: number, message: RegExp][] = [
    ["/v1/completions", { prompt: TOO_LONG }, 400, /"code":"context_length_exceeded"/],
    [
      "/completion",
      { prompt: TOO_LONG },
      400,
      /"type":"exceed_context_size_error".*"n_prompt_tokens":\d+,"n_ctx":2048/,
    ],
    [
      "/generate",
      { inputs: TOO_LONG },
      422,
      /"inputs\\" must be at most 2047 tokens.*"error_type":"validation"/,
    ],
    ["/", { inputs: TOO_LONG, stream: true }, 422, /"error_type":"validation"/],
    [
      "/api/generate",
      { prompt: TOO_LONG, truncate: false },
      400,
      /^\{"error":"Cannot admit request: prompt must be at most/,
    ],
    ["/v1/completions", { debug_options: { raw_prompt: TOO_LONG } }, 400, /^Cannot admit request: /],
  ];
  for (const [path, body, status, message] of refused) {
    const reply = await server.post(path, body);
    assert.equal(reply.status, status, reply.text);
    assert.match(reply.text, message);
  }
  for (const name of ["openai", "llama infill", "ollama", "tabby"]) {
    await whole(server, DIALECTS[name]!, DIALECTS[name]!.body({ prefix: TOO_LONG, suffix: TOO_LONG }));
  }
  await whole(server, DIALECTS.tgi!, { inputs: TOO_LONG, parameters: { truncate: 100, max_new_tokens: 2 } });
  const options = { num_predict: 4, temperature: 0 };
  const { text } = await server.post("/api/generate", { prompt: TOO_LONG, stream: false, options });
  assert.equal(JSON.parse(text).prompt_eval_count, 2044);
}

async function showsOtherFiles(server: Server) {
  const file = { filename: "geometry/circle.py", text: "class Circle:\n    radius = 1\n" };
  const hole = { prefix: "from geometry.circle import ", suffix: "\n" };
  const infill = await server.post("/infill", {
    ...{ input_prefix: hole.prefix, input_suffix: hole.suffix },
    ...{
      input_extra: [file],
      filename: "main.py",
      n_predict: 4,
      temperature: 0,
      token_healing: false,
      fim_layout: "psm",
    },
  });
  const native = JSON.parse(infill.text);
  assert.equal(
    native.prompt,
    `<fim_prefix><filename>${file.filename}\n${file.text}<filename>main.py\n${hole.prefix}<fim_suffix>\n<fim_middle>`,
  );
  const openAi = await server.post("/v1/completions", {
    ...{ prompt: hole.prefix, suffix: hole.suffix, extra: [file], filename: "main.py" },
    ...{ max_tokens: 4, temperature: 0, token_healing: false, fim_layout: "psm" },
  });
  const { usage, choices } = JSON.parse(openAi.text);
  assert.deepEqual([usage.prompt_tokens, choices[0].text], [native.tokens_evaluated, native.content]);
  const tabby = await server.post("/v1/completions", {
    segments: { ...hole, filepath: "main.py", declarations: [{ filepath: file.filename, body: file.text }] },
    debug_options: { return_prompt: true },
  });
  const { prompt } = JSON.parse(tabby.text).debug_data;
  assert.ok(
    prompt.includes(`<filename>${file.filename}\n${file.text}<filename>main.py\n${hole.prefix}`),
    prompt,
  );
}

async function tokenizes(server: Server) {
  const content = 'def f(x):\r\n\tprint("漢字 🙂")\n';
  const { tokens } = JSON.parse((await server.post("/tokenize", { content, with_pieces: true })).text);
  const bytes = tokens.flatMap(({ piece }: { piece: string | number[] }) =>
    typeof piece === "string" ? [...new TextEncoder().encode(piece)] : piece
  );
  assert.equal(new TextDecoder().decode(Uint8Array.from(bytes)), content);
  assert.ok(
    tokens.some(({ piece }: { piece: unknown }) => Array.isArray(piece)),
    "no token is a part of a character",
  );
  const ids = tokens.map(({ id }: { id: number }) => id);
  assert.deepEqual(JSON.parse((await server.post("/detokenize", { tokens: ids })).text), { content });
  const parse = (parse_special: boolean) =>
    server.post("/tokenize", { content: "<fim_prefix>", parse_special });
  const [special, plain] = await Promise.all([parse(true), parse(false)]);
  assert.equal(JSON.parse(special.text).tokens.length, 1);
  assert.ok(JSON.parse(plain.text).tokens.length > 1);
  const beyond = await server.post("/detokenize", { tokens: [1e9] });
  assert.equal(beyond.status, 400);
  assert.match(beyond.text, /ids must be from 0 to \d+, received 1000000000.*"param":"tokens"/);
}

const STEPS: Readonly<Record<string, (server: Server) => Promise<void>>> = {
  "every dialect fills every hole, and streams what it says as a whole": fillsHoles,
  "streams of every dialect hold back what is no whole character": holdsBackParts,
  "every dialect keeps CRLF, and repeats no bracket, where it is asked to": cleansOutput,
  "every dialect cuts an infill that is too long, and names the limit to who continues a text": cutsOrRefuses,
  "other files come to the model as it was trained to see them, whatever the dialect": showsOtherFiles,
  "/tokenize and /detokenize undo each other, and pieces make the text": tokenizes,
};

Deno.test("dialects on the default model", async (t) => {
  await using server = await open();
  for (const [name, step] of Object.entries(STEPS)) await t.step(name, () => step(server));
});
