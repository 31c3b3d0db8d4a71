// Runs llama.vim, unmodified, in real Vim before our server, checks what is on the screen, and records what it sends:
//   deno run -A tests/editors/llama_vim/record.ts CHECKOUT
// CHECKOUT is a clone of github.com/ggml-org/llama.vim, whose code is no part of this repository. What it sends goes to
// tests/fixtures/llama_vim_requests.json, which tests/editors/llama_vim_test.ts replays.
import assert from "node:assert/strict";
import { join } from "std/path/mod.js";
import { createApp } from "../../../routes/app.ts";
import { HttpServer } from "../../../routes/http_server.ts";
import { FakeEngine } from "../../routes/fake_engine.ts";
import { run } from "../../debian.ts";
import { havePrograms } from "../programs.ts";
import { Terminal } from "../terminal.ts";
import type { RecordedRequest } from "./recorded_request.ts";

const OUT = new URL("../../fixtures/llama_vim_requests.json", import.meta.url);
const BODY = "    return first + second\n    # the sum";
const NEXT = "\n\n\ndef subtract(first, second):";
const FILES = {
  "adding.py": "import shapes\n\n\ndef add(first, second):\n    \n\nprint(add(1, 2))\n",
  "shapes.py": Array.from({ length: 40 }, (_, i) => `def shape_${i}(size):\n    return size * ${i}\n`).join(
    "\n",
  ),
};
/** Headers by which the server tells requests apart. */
const KEPT_HEADERS = ["content-type", "accept", "authorization"];

const [checkout] = Deno.args;
if (!checkout) throw new Error("Say where the checkout of llama.vim is");
assert.ok(
  await havePrograms({ tmux: "tmux", vim: "vim", curl: "curl" }),
  "tmux, vim and curl are needed",
);

const recorded: RecordedRequest[] = [];
const engine = new FakeEngine(({ prompt }) => {
  if (prompt.kind !== "infill") return { tokens: [] };
  const text = prompt.prefix + (prompt.lineStart ?? "");
  const line = text.slice(text.lastIndexOf("\n") + 1);
  if (text.endsWith(BODY)) return { tokens: [...NEXT] };
  return { tokens: line.trim() !== "" && BODY.startsWith(line) ? [...BODY.slice(line.length)] : [] };
});
const app = createApp(engine, { apiKeys: [] });
await using server = await HttpServer.listen(record, { hostname: "127.0.0.1", port: 0 });
const folder = await Deno.makeTempDir();
try {
  await drive(`http://127.0.0.1:${server.port}`);
  const of = (test: (body: Record<string, unknown>) => boolean) => recorded.filter(({ body }) => test(body));
  const counts = {
    live: of(({ t_max_predict_ms }) => t_max_predict_ms === 250).length,
    ahead: of(({ t_max_predict_ms }) => t_max_predict_ms === 1000).length,
    warmUps: of(({ n_predict }) => n_predict === 0).length,
    withFiles: of(({ input_extra }) => (input_extra as unknown[]).length > 0).length,
  };
  console.error(`${recorded.length} requests:`, counts);
  assert.ok(Object.values(counts).every((count) => count > 0), "not all kinds of requests were sent");
  const { stdout: version } = await run(["git", "-C", checkout, "describe", "--always"]);
  console.error(`llama.vim ${version.trim() || "of an unknown version"}: a hint was shown and accepted`);
  await Deno.writeTextFile(OUT, JSON.stringify(recorded, undefined, 1) + "\n");
} finally {
  await Deno.remove(folder, { recursive: true });
}

async function record(...[request, facts]: Parameters<Parameters<typeof HttpServer.listen>[0]>) {
  const body = await request.clone().json();
  // Times are of no use, and never the same twice.
  for (const chunk of body.input_extra ?? []) delete chunk.time;
  const headers = KEPT_HEADERS.map((name) => [name, request.headers.get(name) ?? ""]);
  recorded.push({ path: new URL(request.url).pathname, headers: Object.fromEntries(headers), body });
  const response = await app.fetch(request, facts);
  assert.equal(response.status, 200, await response.clone().text());
  return response;
}

async function drive(url: string): Promise<void> {
  for (const [name, text] of Object.entries(FILES)) await Deno.writeTextFile(join(folder, name), text);
  await Deno.writeTextFile(
    join(folder, "vimrc"),
    [
      "set nocompatible noswapfile hidden ttimeout ttimeoutlen=50",
      "filetype plugin indent on",
      `let g:llama_config = {'endpoint_fim': '${url}/infill', 'show_info': 0}`,
      `set rtp^=${await Deno.realPath(checkout)}`,
    ].join("\n"),
  );
  await using terminal = await Terminal.start("vim -N -u vimrc -i NONE shapes.py", folder);
  // In Vim 9.0 it says that it wants 9.1, and works.
  const first = await terminal.shows(/def shape_0|Press ENTER/);
  if (first.includes("Press ENTER")) await terminal.press("Enter");
  await terminal.shows("def shape_0");
  await terminal.type(":edit adding.py");
  await terminal.press("Enter");
  await terminal.shows("import shapes");
  await waitFor(() => recorded.some(({ body }) => body.n_predict === 0));
  await terminal.type("5GAre");
  await terminal.shows(/^ {4}return first \+ second\n +# the sum$/m);
  await waitFor(() => recorded.some(({ body }) => body.t_max_predict_ms === 1000));
  await terminal.type("tu");
  await terminal.shows(/^ {4}return first \+ second\n +# the sum$/m);
  await terminal.press("Tab", "Escape");
  await terminal.type(":write");
  await terminal.press("Enter");
  await terminal.shows("written");
  const saved = await Deno.readTextFile(join(folder, "adding.py"));
  assert.equal(saved, FILES["adding.py"].replace("    \n", `${BODY}\n`));
}

async function waitFor(isSo: () => boolean): Promise<void> {
  for (let tries = 0; !isSo(); tries++) {
    if (tries > 300) throw new Error(`not within half a minute: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
