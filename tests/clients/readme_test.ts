// What README.md says that clients print is what they print: its Python and JavaScript, on the default model.
import assert from "node:assert/strict";
import { DEFAULT_MODEL_DIR, DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { WorkerEngine } from "../../engine/worker_engine.ts";
import { createApp } from "../../routes/app.ts";
import { HttpServer } from "../../routes/http_server.ts";
import { pythonClients } from "./python_clients.ts";

const ROOT = new URL("../../", import.meta.url);
const OLLAMA = new URL("tests/ollama_client.ts", ROOT).href;

/** The code of each block, and what the comment at its end promises. */
function blocksIn(markdown: string, language: string) {
  const blocks = [...markdown.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, "g"))];
  return blocks.map(([, code = ""]) => ({ code, printed: /(?:#|\/\/) (.*)\n$/.exec(code)?.[1] }));
}

async function run(command: string, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await new Deno.Command(command, {
    args: [...args],
    env: { NO_PROXY: "127.0.0.1", NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert.notEqual(text, "", new TextDecoder().decode(stderr));
  return text.trimEnd();
}

Deno.test("README.md's clients print what it says", async () => {
  const markdown = await Deno.readTextFile(new URL("README.md", ROOT));
  const load = { modelDir: DEFAULT_MODEL_DIR, device: "cpu" } as const;
  await using engine = new WorkerEngine({ modelId: DEFAULT_MODEL_ID, load });
  await using server = await HttpServer.listen(createApp(engine, { apiKeys: [] }).fetch, {
    hostname: "127.0.0.1",
    port: 0,
  });
  while (engine.state.phase === "loading") await new Promise((resolve) => setTimeout(resolve, 20));
  const here = (code: string) => code.replace("127.0.0.1:8012", `127.0.0.1:${server.port}`);
  const [js, ...otherJs] = blocksIn(markdown, "js");
  assert.deepEqual([otherJs.length, js!.printed], [0, "a + b"]);
  const script = await Deno.makeTempFile({ suffix: ".mjs" });
  await Deno.writeTextFile(script, here(js!.code).replace('"ollama"', JSON.stringify(OLLAMA)));
  assert.equal(await run(Deno.execPath(), ["run", "--allow-all", "--no-check", script]), js!.printed);
  await Deno.remove(script);
  const python = await pythonClients();
  if (!python) return;
  const blocks = blocksIn(markdown, "python");
  assert.equal(blocks.length, 2);
  for (const { code, printed } of blocks) {
    assert.equal(printed, "a + b");
    assert.equal(await run(python, ["-c", here(code)]), printed);
  }
});
