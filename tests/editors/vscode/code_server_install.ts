// Installs code-server and the Node that it wants into the user's cache folder, in the versions of
// code_server/package-lock.json. Nothing of how it is started.
//
// Not as its own installation script does it, which fetches 300 MB of other parts besides and compiles some of them:
// what VS Code loads at once when it starts is listed in code_server/package.json, and what it lacks (terminals, search
// in files, its chat) it does without.
import { fromFileUrl, join } from "std/path/mod.js";
import { run } from "../../debian.ts";

const LISTED = fromFileUrl(new URL("code_server/", import.meta.url));

export interface InstalledCodeServer {
  /** The Node to run it with. */
  readonly node: string;
  readonly program: string;
}

/** @throws {Error} npm or its registry is not to be had, or there is no Node of that version for this machine */
export async function installedCodeServer(): Promise<InstalledCodeServer> {
  const folder = join(cacheFolder(), "hyades/code-server"), modules = join(folder, "node_modules");
  const lock = await Deno.readTextFile(join(LISTED, "package-lock.json"));
  const node = join(modules, `node-linux-${Deno.build.arch === "aarch64" ? "arm64" : "x64"}/bin/node`);
  const program = join(modules, "code-server/out/node/entry.js");
  const missing = async () => (await Array.fromAsync([node, program], isThere)).includes(false);
  // Somebody may have tidied up since.
  if (await textOf(join(folder, "complete")) !== lock || await missing()) await install(folder, lock);
  if (await missing()) {
    await Deno.remove(join(folder, "complete"));
    throw new Error(`npm has installed no ${node} for this machine, or no ${program}`);
  }
  return { node, program };
}

async function isThere(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function install(folder: string, lock: string): Promise<void> {
  console.error(`Installing code-server into ${folder} ...`);
  await Deno.remove(folder, { recursive: true }).catch(() => {});
  await Deno.mkdir(folder, { recursive: true });
  for (const name of ["package.json", "package-lock.json"]) {
    await Deno.copyFile(join(LISTED, name), join(folder, name));
  }
  const options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  await mustRun(["npm", "--prefix", folder, "ci", ...options]);
  // The browser is handed some of them by their paths below VS Code's own folder.
  await Deno.symlink(
    join(folder, "node_modules"),
    join(folder, "node_modules/code-server/lib/vscode/node_modules"),
  );
  await Deno.writeTextFile(join(folder, "complete"), lock);
}

function cacheFolder(): string {
  return Deno.env.get("XDG_CACHE_HOME") || join(Deno.env.get("HOME") ?? ".", ".cache");
}

async function textOf(path: string): Promise<string | undefined> {
  return await Deno.readTextFile(path).catch(() => undefined);
}

/** @throws {Error} it failed, with what it said */
export async function mustRun(command: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await run(command);
  if (code !== 0) throw new Error(`${command.join(" ")} failed (${code}):\n${stdout}\n${stderr}`);
}
