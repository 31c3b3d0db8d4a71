// The extension's commands. What VS Code does itself is left to it; the language server is told what became of what it
// suggested.
import * as vscode from "vscode";
import type { LanguageClient } from "vscode-languageclient/node";
import type { Shown } from "./shown";

export interface Surroundings {
  readonly client: () => LanguageClient | undefined;
  readonly shown: Shown;
  readonly start: () => Promise<void>;
  readonly log: vscode.OutputChannel;
}

export function registerCommands(
  { subscriptions }: vscode.ExtensionContext,
  { client, shown, start, log }: Surroundings,
): void {
  const tell = async (command: string, ...args: string[]): Promise<void> => {
    const { id } = shown;
    if (id === undefined) return;
    await client()?.sendRequest("workspace/executeCommand", { command, arguments: [id, ...args] });
  };
  const commands: Record<string, () => Promise<void>> = {
    suggest: () => run("editor.action.inlineSuggest.trigger"),
    acceptWord: async () => {
      const told = tell("hyades.accepted", "word");
      await run("editor.action.inlineSuggest.acceptNextWord");
      await told;
    },
    acceptLine: async () => {
      const told = tell("hyades.accepted", "line");
      await run("editor.action.inlineSuggest.acceptNextLine");
      await told;
    },
    dismiss: async () => {
      const told = tell("hyades.dismissed");
      await run("editor.action.inlineSuggest.hide");
      await told;
    },
    toggle: async () => {
      const settings = vscode.workspace.getConfiguration("hyades");
      await settings.update("enabled", !settings.get("enabled"), vscode.ConfigurationTarget.Global);
    },
    restart: start,
    showLog: () => Promise.resolve(log.show()),
    menu: showMenu,
  };
  for (const [name, command] of Object.entries(commands)) {
    subscriptions.push(vscode.commands.registerCommand(`hyades.${name}`, command));
  }
}

async function showMenu(): Promise<void> {
  const choices = {
    "Switch on or off": "hyades.toggle",
    "Restart the language server": "hyades.restart",
    "Show the log": "hyades.showLog",
    "Settings": "workbench.action.openSettings",
  };
  const choice = await vscode.window.showQuickPick(Object.keys(choices), { title: "Hyades" });
  if (choice === undefined) return;
  const command = choices[choice as keyof typeof choices];
  await run(command, ...(choice === "Settings" ? ["hyades."] : []));
}

async function run(command: string, ...args: string[]): Promise<void> {
  await vscode.commands.executeCommand(command, ...args);
}
