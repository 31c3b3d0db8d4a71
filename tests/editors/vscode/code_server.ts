// VS Code in a browser: the code-server package, installed into the user's cache (600 MB) when it is not there yet, with
// the Node that it wants. Nothing of what is tested in it.
import { join } from "std/path/mod.js";
import { run } from "../../debian.ts";
import { havePrograms } from "../programs.ts";

const CODE_SERVER = "4.139.1", NODE = "24";
/** Some of its parts are compiled on installation. */
const TOOLS = { "g++": "g++", make: "make", python3: "python3", "pkg-config": "pkg-config" };
const LIBRARIES = ["libkrb5-dev", "libsecret-1-dev", "libx11-dev", "libxkbfile-dev"];
const START_MS = 120_000;

export interface CodeServer extends AsyncDisposable {
  readonly url: string;
}

/**
 * @param extension a .vsix to install
 * @param settings of the machine and the user
 */
export async function startCodeServer(
  extension: string,
  settings: Readonly<Record<string, unknown>>,
): Promise<CodeServer> {
  const { node, program } = await installed();
  const data = await Deno.makeTempDir();
  for (const scope of ["User", "Machine"]) {
    await Deno.mkdir(join(data, scope));
    await Deno.writeTextFile(join(data, scope, "settings.json"), JSON.stringify(settings));
  }
  const folders = ["--user-data-dir", data, "--extensions-dir", join(data, "extensions")];
  await mustRun([node, program, ...folders, "--install-extension", extension]);
  using probe = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = probe.addr;
  probe.close();
  const process = new Deno.Command(node, {
    args: [program, ...folders, "--auth", "none", "--bind-addr", `127.0.0.1:${port}`]
      .concat("--disable-telemetry", "--disable-update-check"),
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const url = `http://127.0.0.1:${port}`;
  await answers(`${url}/healthz`);
  return {
    url,
    async [Symbol.asyncDispose]() {
      process.kill("SIGTERM");
      await process.status;
      await Deno.remove(data, { recursive: true });
    },
  };
}

async function installed(): Promise<{ node: string; program: string }> {
  const folder = join(Deno.env.get("HOME") ?? ".", ".cache/hyades/code-server");
  const node = join(folder, "node_modules/node/bin/node");
  const program = join(folder, "node_modules/code-server/out/node/entry.js");
  if (await isFile(program) && await isFile(join(folder, "complete"))) return { node, program };
  if (!await havePrograms(TOOLS)) throw new Error("Cannot install code-server without its tools");
  const elevate = Deno.uid() === 0 ? [] : ["sudo", "-n"];
  await mustRun([...elevate, "apt-get", "install", "-y", "-q", "--no-install-recommends", ...LIBRARIES]);
  console.error(`Installing code-server ${CODE_SERVER} into ${folder} ...`);
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(join(folder, "package.json"), `{"private": true}`);
  await mustRun(["npm", "--prefix", folder, "install", `node@${NODE}`]);
  const path = `${join(folder, "node_modules/node/bin")}:${Deno.env.get("PATH")}`;
  await mustRun(["env", `PATH=${path}`, "npm", "--prefix", folder, "install", `code-server@${CODE_SERVER}`]);
  await Deno.writeTextFile(join(folder, "complete"), "");
  return { node, program };
}

async function answers(url: string): Promise<void> {
  const deadline = Date.now() + START_MS;
  while (Date.now() < deadline) {
    try {
      const response = await fetch(url);
      await response.body?.cancel();
      if (response.ok) return;
    } catch {
      // Not yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`code-server did not answer at ${url}`);
}

async function isFile(path: string): Promise<boolean> {
  return await Deno.stat(path).then(({ isFile }) => isFile, () => false);
}

export async function mustRun(command: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await run(command);
  if (code !== 0) throw new Error(`${command.join(" ")} failed (${code}):\n${stdout}\n${stderr}`);
}
