// The extension: starts the language server, which does the work, and gives VS Code its commands and status bar.
import * as vscode from "vscode";
import { registerCommands } from "./commands";
import { LanguageServer } from "./language_server";
import { Shown } from "./shown";
import { StatusBar } from "./status_bar";

/** Settings of the language server's process; it is told of the others while it runs. */
const OF_PROCESS = ["server", "apiKey", "path", "model", "command"];

let server: LanguageServer | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const log = vscode.window.createOutputChannel("Hyades", { log: true });
  const statusBar = new StatusBar();
  const shown = new Shown();
  const languageServer = server = new LanguageServer({ log, shown, report: (status) => statusBar.show(status) });
  const restart = async (): Promise<void> => {
    await languageServer.restart();
    // Not waited for: it is open until somebody answers.
    if (!languageServer.running) void offerMend(statusBar.status.message);
  };
  context.subscriptions.push(log, statusBar);
  registerCommands(context, { server: languageServer, restart, statusBar, shown, log });
  context.subscriptions.push(vscode.workspace.onDidChangeConfiguration(async (change) => {
    if (OF_PROCESS.some((name) => change.affectsConfiguration(`hyades.${name}`))) await restart();
  }));
  await restart();
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}

/** The status bar alone is easily overlooked, by who has just installed this most of all. */
async function offerMend(message = "The language server does not start"): Promise<void> {
  const mends = { "Open Settings": "hyades.openSettings", "Show the Log": "hyades.showLog" };
  const mend = await vscode.window.showErrorMessage(`Hyades: ${message}`, ...Object.keys(mends));
  if (mend !== undefined) await vscode.commands.executeCommand(mends[mend as keyof typeof mends]);
}
