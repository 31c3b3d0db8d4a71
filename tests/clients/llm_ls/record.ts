// Has llm-ls's own code ask our server, checks what it reads of the replies, and records what it sends:
//   deno run -A tests/clients/llm_ls/record.ts CHECKOUT
// CHECKOUT is a clone of github.com/huggingface/llm-ls, whose code is no part of this repository. The whole program needs
// 300 crates from crates.io, and is in no package registry; what makes its requests and reads the replies needs some that
// Debian has. That is compiled as it is, without the editor's side. What it sends goes to
// tests/fixtures/llm_ls_requests.json, which llm_ls_test.ts replays.
import assert from "node:assert/strict";
import { EngineUnavailableError } from "../../../engine/errors.ts";
import { createApp } from "../../../routes/app.ts";
import { HttpServer } from "../../../routes/http_server.ts";
import { FakeEngine, type Script } from "../../routes/fake_engine.ts";
import { compileLlmLs } from "./compile.ts";
import {
  LLM_LS_MODEL,
  LLM_LS_PROMPT,
  LLM_LS_SETTINGS,
  type RecordedLlmLsRequest,
} from "./recorded_request.ts";

const OUT = new URL("../../fixtures/llm_ls_requests.json", import.meta.url);
const BACKENDS = ["tgi", "huggingface", "ollama", "openai", "llamacpp"] as const;
const KEPT_HEADERS = ["content-type", "accept", "authorization", "user-agent"];

interface Told {
  readonly generations?: readonly { readonly generated_text: string }[];
  readonly error?: string;
}

const [checkout] = Deno.args;
if (!checkout) throw new Error("Say where the checkout of llm-ls is");
const { program, version } = await compileLlmLs(checkout);
const recorded: RecordedLlmLsRequest[] = [];

for (const backend of BACKENDS) {
  for (const settings of ["none", "those of the plugins"]) {
    const { generations, error } = await ask(backend, settings, { tokens: ["x", "):"] }, recorded);
    assert.deepEqual(generations?.map(({ generated_text }) => generated_text), ["x):"], error);
  }
  const queueFull = new EngineUnavailableError("The queue is full", "queue_full");
  const full = await ask(backend, "none", { failure: { at: 0, error: queueFull } });
  const refused = await ask(backend, "wrong", {}, recorded);
  // Its backend for llama.cpp reads errors that are a text, which neither llama.cpp's nor OpenAI's are.
  const words = backend === "llamacpp"
    ? [/did not match any variant/, /did not match any variant/]
    : [/The queue is full/, /temperature" must be a number, received "x"/];
  assert.match(full.error!, words[0]);
  assert.match(refused.error!, words[1]);
  console.log(`${backend}: ${full.error} | ${refused.error}`);
}
await Deno.writeTextFile(OUT, `${JSON.stringify(recorded, null, 2)}\n`);
console.log(`llm-ls ${version}: ${recorded.length} requests were answered, and their replies read`);

/** What llm-ls makes of the reply to one request. */
async function ask(
  backend: RecordedLlmLsRequest["backend"],
  settings: string,
  script: Script,
  record?: RecordedLlmLsRequest[],
): Promise<Told> {
  const app = createApp(new FakeEngine(script), { apiKeys: [] });
  const server = await HttpServer.listen(async (request) => {
    if (record) record.push(await recordedOf(request.clone(), backend, settings));
    return await app.fetch(request);
  }, { hostname: "127.0.0.1", port: 0 });
  const params = {
    ...{ textDocument: { uri: "file:///f.py" }, position: { line: 0, character: 6 }, ide: "neovim" },
    fim: { enabled: true, prefix: "<fim_prefix>", middle: "<fim_middle>", suffix: "<fim_suffix>" },
    ...{ apiToken: "", model: LLM_LS_MODEL, backend, url: `http://127.0.0.1:${server.port}` },
    ...{ tokensToClear: ["<|endoftext|>"], contextWindow: 2048, tlsSkipVerifyInsecure: false },
    requestBody: LLM_LS_SETTINGS[settings],
  };
  try {
    return JSON.parse(await output(program, JSON.stringify({ prompt: LLM_LS_PROMPT, params })));
  } finally {
    server.cut();
  }
}

async function recordedOf(
  request: Request,
  backend: RecordedLlmLsRequest["backend"],
  settings: string,
): Promise<RecordedLlmLsRequest> {
  const headers = Object.fromEntries([...request.headers].filter(([name]) => KEPT_HEADERS.includes(name)));
  const { pathname } = new URL(request.url);
  return { backend, settings, path: pathname, headers, body: await request.json() };
}

async function output(program: string, line: string): Promise<string> {
  const process = new Deno.Command(program, { stdin: "piped", stdout: "piped", stderr: "inherit" }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(`${line}\n`));
  await writer.close();
  return new TextDecoder().decode((await process.output()).stdout);
}
