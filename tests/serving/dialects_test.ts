// Every dialect on the default model: holes that editors make and servers trip over, whole and streamed; other files as
// the model was trained to see them; prompts that are too long.
import assert from "node:assert/strict";
import { DEFAULT_MODEL_DIR, DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { WorkerEngine } from "../../engine/worker_engine.ts";
import { createApp } from "../../routes/app.ts";
import { type DialectBodies, DIALECTS, framesOf, type Hole } from "../routes/dialect_bodies.ts";
import { ODD_HOLES } from "../routes/odd_holes.ts";

const MAX_TOKENS = 8;

/** One path each into the engine: the others' prompts and texts are these (routes/odd_inputs_test.ts). */
const { openai, "llama infill": infill, "llama completion": completion, tgi, ollama, tabby } = DIALECTS;
const SERVED: Readonly<Record<string, DialectBodies>> = {
  ...{ openai, "llama infill": infill, "llama completion": completion, tgi, ollama, tabby },
};

const HOLES: Readonly<Record<string, Hole>> = {
  ...ODD_HOLES,
  "halves of a character": { prefix: 'face = "\ud83d', suffix: '\ude42"\n' },
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
  { path, text }: DialectBodies,
  body: Record<string, unknown>,
): Promise<string> {
  const reply = await server.post(path, body);
  assert.equal(reply.status, 200, reply.text);
  return text(JSON.parse(reply.text));
}

async function parts(
  server: Server,
  { path, stream }: DialectBodies,
  body: Record<string, unknown>,
): Promise<string[]> {
  const reply = await server.post(stream!.path ?? path, { ...body, ...stream!.body });
  assert.equal(reply.status, 200, reply.text);
  return framesOf(reply.text, stream!).map(stream!.part);
}

/** No character is cut in two, neither between code units nor between bytes. */
function assertWholeCharacters(texts: readonly string[]) {
  for (const text of texts) assert.ok(text.isWellFormed() && !text.includes("\ufffd"), JSON.stringify(texts));
}

/** A prompt of more tokens than the model's context has. */
const TOO_LONG = "value = compute(value, 1)\n".repeat(1000);

async function fillsHoles(server: Server) {
  for (const [name, dialect] of Object.entries(SERVED)) {
    let filled = 0;
    for (const [kind, hole] of Object.entries(HOLES)) {
      const body = dialect.body(hole, MAX_TOKENS);
      const text = await whole(server, dialect, body);
      assert.ok(text.isWellFormed());
      assert.doesNotMatch(text, /<fim_|<\|endoftext|<filename>/, `${name}: ${kind}`);
      if (text !== "") filled++;
      // An empty text is a question of another kind to Ollama (routes/odd_inputs_test.ts).
      if (!dialect.stream || hole.prefix + hole.suffix === "") continue;
      const all = await parts(server, dialect, body);
      assert.ok(all.every((part) => part.isWellFormed()));
      assert.equal(all.join(""), text, `${name}: ${kind}`);
    }
    assert.ok(filled > Object.keys(HOLES).length / 2, `${name}: ${filled} holes were filled`);
  }
}

async function holdsBackParts(server: Server) {
  const wanted = "🙂漢字é";
  for (const [name, dialect] of Object.entries(SERVED)) {
    if (!dialect.only) continue;
    const longer = { ...dialect.body({ prefix: "x = ", suffix: "\n" }, 40), ...dialect.only(wanted, 40) };
    const all = await parts(server, dialect, longer);
    assertWholeCharacters(all);
    assert.equal(all.join("").replaceAll('"', ""), wanted, name);
    assert.ok(all.filter((part) => part !== "").length > 1, `${name} came at once: ${JSON.stringify(all)}`);
  }
}

async function cleansOutput(server: Server) {
  for (const [name, dialect] of Object.entries(SERVED)) {
    const lines = { prefix: "def add(a, b):\r\n", suffix: "\r\n\r\nprint(add(1, 2))\r\n" };
    const crlf = { ...dialect.body(lines, MAX_TOKENS), ...dialect.rules({ keep_crlf: true }, MAX_TOKENS) };
    assert.doesNotMatch(await whole(server, dialect, crlf), /(?<!\r)\n|\r(?!\n)/, name);
    const call = { prefix: "def f(x):\n    print(len(x", suffix: "))\n" };
    const cut = {
      ...dialect.body(call, MAX_TOKENS),
      ...dialect.rules({ scope: "line", trim_suffix: true }, MAX_TOKENS),
    };
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
    const dialect = SERVED[name]!, hole = { prefix: TOO_LONG, suffix: TOO_LONG };
    await whole(server, dialect, dialect.body(hole, MAX_TOKENS));
  }
  await whole(server, SERVED.tgi!, { inputs: TOO_LONG, parameters: { truncate: 100, max_new_tokens: 2 } });
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
  for (const [kind, { prefix, suffix, text }] of Object.entries(ODD_HOLES)) {
    const content = prefix + text + suffix;
    const { tokens } = JSON.parse((await server.post("/tokenize", { content })).text);
    assert.deepEqual(JSON.parse((await server.post("/detokenize", { tokens })).text), { content }, kind);
  }
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
