// The command that starts the language server.
import { existsSync } from "node:fs";
import { homedir } from "node:os";
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
  const folder = withHome(settings.get<string>("path") || BUILT_IN), main = join(folder, "main.ts");
  if (!existsSync(main)) {
    throw new Error(`No Hyades in ${folder}: set hyades.path to the folder of your clone`);
  }
  const [command, ...before] = denoCommand();
  const args = [...before, "run", "-P=serve", "--config", join(folder, "deno.json"), main, "lsp"];
  const server = settings.get<string>("server"), model = settings.get<string>("model");
  if (server) args.push("--server", server);
  if (model) args.push("--model", withHome(model));
  return { command, args, env };
}

/** No shell is there to know what ~ is. */
function withHome(path: string): string {
  return path.replace(/^~(?=$|[\\/])/, homedir());
}

/** @throws {Error} there is neither Deno nor npx */
function denoCommand(): [string, ...string[]] {
  const windows = process.platform === "win32", deno = windows ? "deno.exe" : "deno";
  // Deno's own installer puts it there; an editor started from a desktop may not have that on its PATH.
  const found = find(deno, join(homedir(), ".deno", "bin"));
  if (found !== undefined) return [found];
  const viaNpx = ["-y", "deno@2.9.6"];
  // Node starts no script of Windows but through its shell.
  if (windows && find("npx.cmd") !== undefined) return ["cmd.exe", "/d", "/c", "npx", ...viaNpx];
  if (!windows && find("npx") !== undefined) return ["npx", ...viaNpx];
  throw new Error("No Deno and no Node on this machine: install one of them, or set hyades.command");
}

/** The path of a program in one of PATH's folders or those besides. */
function find(program: string, ...besides: string[]): string | undefined {
  return [...(process.env["PATH"] ?? "").split(delimiter).filter(Boolean), ...besides]
    .map((folder) => join(folder, program))
    .find((path) => existsSync(path));
}
