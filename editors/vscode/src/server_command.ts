// The command that starts the language server.
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { WorkspaceConfiguration } from "vscode";

/** The repository that the extension was built in; see build.mjs. */
declare const BUILT_IN: string;

export interface ServerCommand {
  readonly command: string;
  readonly args: string[];
  /** Besides the editor's own. */
  readonly env: Record<string, string>;
}

/** @throws {Error} there is nothing to run; says what to set or install */
export function serverCommand(settings: WorkspaceConfiguration): ServerCommand {
  const apiKey = settings.get<string>("apiKey");
  // Not an argument: those are everybody's to see.
  const env: Record<string, string> = apiKey ? { HYADES_API_KEY: apiKey } : {};
  const [given, ...givenArgs] = settings.get<string[]>("command", []);
  if (given) return { command: given, args: givenArgs, env };
  const folder = settings.get<string>("path") || BUILT_IN, main = join(folder, "main.ts");
  if (!existsSync(main)) {
    throw new Error(`No Hyades in ${folder}: set hyades.path to the repository's folder`);
  }
  const [command, ...before] = denoCommand();
  const args = [...before, "run", "-P=serve", "--config", join(folder, "deno.json"), main, "lsp"];
  for (const name of ["server", "model"]) {
    const value = settings.get<string>(name);
    if (value) args.push(`--${name}`, value);
  }
  return { command, args, env };
}

/** @throws {Error} neither is on PATH */
function denoCommand(): [string, ...string[]] {
  const windows = process.platform === "win32";
  if (isOnPath(windows ? "deno.exe" : "deno")) return ["deno"];
  const npx = windows ? "npx.cmd" : "npx";
  if (isOnPath(npx)) return [npx, "-y", "deno@2.9.6"];
  throw new Error("Install Deno or Node, or set hyades.command");
}

function isOnPath(program: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((folder) => existsSync(join(folder, program)));
}
