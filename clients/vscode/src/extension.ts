// The extension: starts the language server, which does the work, and gives VS Code its commands and status bar.
import * as vscode from "vscode";
import { type Executable, LanguageClient, type LanguageClientOptions } from "vscode-languageclient/node";
import { registerCommands } from "./commands";
import { serverCommand } from "./server_command";
import { Shown } from "./shown";
import { StatusBar } from "./status_bar";

let client: LanguageClient | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const log = vscode.window.createOutputChannel("Hyades", { log: true });
  const statusBar = new StatusBar();
  const shown = new Shown();
  context.subscriptions.push(log, statusBar);

  const start = async (): Promise<void> => {
    await client?.dispose();
    client = undefined;
    statusBar.show({ state: "starting" });
    try {
      client = makeClient(log, shown);
      client.onNotification("hyades/status", (status) => statusBar.show(status));
      await client.start();
    } catch (error) {
      statusBar.show({ state: "error", message: error instanceof Error ? error.message : String(error) });
    }
  };

  registerCommands(context, { client: () => client, shown, start, log });
  context.subscriptions.push(vscode.workspace.onDidChangeConfiguration(async (change) => {
    const ofProcess = ["server", "apiKey", "path", "model", "command"];
    if (ofProcess.some((name) => change.affectsConfiguration(`hyades.${name}`))) await start();
  }));
  await start();
}

export async function deactivate(): Promise<void> {
  await client?.dispose();
}

function makeClient(log: vscode.LogOutputChannel, shown: Shown): LanguageClient {
  const settings = vscode.workspace.getConfiguration("hyades");
  const { command, args, env } = serverCommand(settings);
  const executable: Executable = { command, args, options: { env: { ...process.env, ...env } } };
  const options: LanguageClientOptions = {
    documentSelector: [{ scheme: "file" }, { scheme: "untitled" }],
    initializationOptions: settings,
    synchronize: { configurationSection: "hyades" },
    outputChannel: log,
    middleware: {
      provideInlineCompletionItems: async (document, position, context, token, next) => {
        const items = await next(document, position, context, token);
        shown.remember(items);
        return items;
      },
    },
  };
  return new LanguageClient("hyades", "Hyades", executable, options);
}
