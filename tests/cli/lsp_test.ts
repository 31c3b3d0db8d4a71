// The real language server as editors start it: with the default model in its own process, and before a server.
import assert from "node:assert/strict";
import { fromFileUrl, resolve } from "std/path/mod.js";
import { DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { editorOver, PROMPT_SETTINGS } from "../lsp/editor.ts";
import { startServer } from "./running_server.ts";

const ROOT = resolve(fromFileUrl(new URL("../../", import.meta.url)));
const LSP = [Deno.execPath(), "run", "--no-check", "-P=serve", "main.ts", "lsp"];
const POINT = "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        ▮\n\n" +
  "    def length(self):\n        return (self.x ** 2 + self.y ** 2) ** 0.5\n";

Deno.test("lsp completes over stdio with the default model in its own process", async () => {
  await using started = await editorOver([...LSP, "--no-server", "--device", "cpu"], { cwd: ROOT });
  const { editor } = started;
  const status = await editor.statusWith({ state: "ready", model: DEFAULT_MODEL_ID });
  assert.equal(status.server, "own process");
  await editor.open("file:///work/point.py", POINT);
  assert.equal(await editor.suggestion(), "self.y = y");
  const [item] = await editor.ask();
  await editor.accept(item);
  assert.match(editor.text, /self\.x = x\n {8}self\.y = y\n\n {4}def length/);
  await editor[Symbol.asyncDispose]();
  assert.equal((await started.status).code, 0);
  await started.hangUp();
});

Deno.test("lsp asks the server that it is told of, with its key, and ends when its editor dies", async () => {
  await using server = await startServer(["--api-key", "sesame"]);
  const command = [...LSP, "--server", server.url(""), "--api-key", "sesame"];
  await using started = await editorOver(command, { cwd: ROOT, settings: PROMPT_SETTINGS });
  const { editor } = started;
  const status = await editor.statusWith({ state: "ready", model: "mqa-d40-f32" });
  assert.equal(status.server, server.url(""));
  await editor.open("file:///work/a.py", "x = ▮\n");
  await editor.ask();
  assert.equal(editor.statuses.findLast(({ state }) => state === "ready")!.message, undefined);
  server.process.kill("SIGKILL");
  await server.process.status;
  await editor.type("y");
  assert.deepEqual(await editor.ask(), []);
  const { message } = await editor.statusWith({ state: "error" });
  assert.ok(message!.startsWith(`No server answers at ${server.url("")}: `), message);
  await started.hangUp();
  assert.equal((await started.status).code, 1);
});

Deno.test("lsp refuses an address that is none", async () => {
  const { code, stderr } = await new Deno.Command(LSP[0], {
    args: [...LSP.slice(1), "--server", "gpu.lan:8012"],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  assert.equal(code, 1);
  assert.match(new TextDecoder().decode(stderr), /must be an address such as http:\/\/127\.0\.0\.1:8012/);
});
