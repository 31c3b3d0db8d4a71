// `pull`, `serve --model org/name` and `models` as their own processes, against a stand-in for the hub.
import { deepStrictEqual, equal, match } from "node:assert/strict";
import { join } from "std/path/mod.js";
import { FakeHub } from "../models/hub/fake_hub.ts";
import { PARITY_CASES } from "../models/parity_cases.ts";
import { startServer } from "./running_server.ts";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";

async function hyades(args: readonly string[], env: Readonly<Record<string, string>>) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-P=pull", "main.ts", ...args],
    env: { NO_COLOR: "1", HF_TOKEN: "", ...env },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("A model that was pulled is listed, served by its name without a network, and removed", async () => {
  const { modelDir } = PARITY_CASES.find(({ name }) => name === "starcoder2-gqa-window-f32")!;
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  for await (const { name } of Deno.readDir(modelDir)) {
    files.set(name, await Deno.readFile(join(modelDir, name)));
  }
  const cache = await Deno.makeTempDir(), hub = new FakeHub();
  const env = { HF_HUB_CACHE: cache, HF_ENDPOINT: `${hub.endpoint}/` };
  try {
    hub.repos.set("org/tiny", { commit: COMMIT, files });
    const pulled = await hyades(["pull", "org/tiny"], env);
    equal(pulled.code, 0, pulled.stderr);
    match(
      pulled.stdout,
      /^org\/tiny: 5 files, .* downloaded\. Serve it: deno task serve --model org\/tiny$/m,
    );
    match((await hyades(["pull", "org/tiny"], env)).stdout, /all of it was there/);
    const quantised = new Map([[
      "tiny-q8_0.gguf",
      await Deno.readFile("tests/fixtures/gguf/starcoder-q8_0.gguf"),
    ]]);
    hub.repos.set("org/tiny-GGUF", { commit: COMMIT, files: quantised });
    equal((await hyades(["pull", "org/tiny-GGUF"], env)).code, 0);
    const refused = await hyades(["pull", "org/other"], env);
    equal(refused.code, 1);
    match(refused.stderr, /^error: Cannot pull org\/other: there is no such repository at http/m);
    await hub[Symbol.asyncDispose]();

    match(
      (await hyades(["models"], env)).stdout,
      /^org\/tiny +[\d.]+ kB {2}starcoder2 {2}\d{4}-\d\d-\d\d$/m,
    );
    {
      await using server = await startServer(["--model", "org/tiny"], env);
      const { data } = await (await fetch(server.url("/v1/models"))).json();
      equal(data[0].id, "org/tiny");
    }
    {
      await using server = await startServer(["--model", "org/tiny-GGUF"], env);
      const body = JSON.stringify({ model: "org/tiny-GGUF", prompt: "abc", max_tokens: 3 });
      const headers = { "content-type": "application/json" };
      const reply = await (await fetch(server.url("/v1/completions"), { method: "POST", headers, body }))
        .json();
      deepStrictEqual([reply.usage.prompt_tokens, reply.usage.completion_tokens], [3, 3]);
    }
    match((await hyades(["models", "remove", "org/tiny-GGUF"], env)).stdout, /deleted/);
    match((await hyades(["models", "remove", "org/tiny"], env)).stdout, /^org\/tiny: .* deleted$/m);
    match((await hyades(["models"], env)).stderr, /No models were pulled/);
    const gone = await hyades(["models", "remove", "org/tiny"], env);
    match(gone.stderr, /Cannot remove org\/tiny: it was not pulled; there are: none/);
  } finally {
    await hub[Symbol.asyncDispose]();
    await Deno.remove(cache, { recursive: true });
  }
});
