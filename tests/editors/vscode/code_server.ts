// VS Code in a browser: the code-server package with an extension installed. Nothing of what is tested in it.
import { join } from "std/path/mod.js";
import { installedCodeServer, mustRun } from "./code_server_install.ts";

const START_MS = 120_000;

export interface CodeServer extends AsyncDisposable {
  readonly url: string;
  /** Puts others in the place of all settings; VS Code sees them soon after. */
  readonly configure: (settings: CodeSettings) => Promise<void>;
}

/** Of the machine and the user. */
export type CodeSettings = Readonly<Record<string, unknown>>;

/** @param extension a .vsix to install */
export async function startCodeServer(extension: string, settings: CodeSettings): Promise<CodeServer> {
  const { node, program } = await installedCodeServer();
  const data = await Deno.makeTempDir();
  const configure = async (settings: CodeSettings): Promise<void> => {
    for (const scope of ["User", "Machine"]) {
      await Deno.mkdir(join(data, scope), { recursive: true });
      await Deno.writeTextFile(join(data, scope, "settings.json"), JSON.stringify(settings));
    }
  };
  await configure(settings);
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
  const end = async (): Promise<void> => {
    process.kill("SIGTERM");
    await process.status;
    await Deno.remove(data, { recursive: true });
  };
  const url = `http://127.0.0.1:${port}`;
  try {
    await answers(`${url}/healthz`);
  } catch (error) {
    await end();
    throw error;
  }
  return { url, configure, [Symbol.asyncDispose]: end };
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
