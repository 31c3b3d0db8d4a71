// The extension's commands. What VS Code does itself is left to it; the language server is told what became of what it
// suggested.
import * as vscode from "vscode";
import { activeLanguage } from "./active_language";
import type { LanguageServer } from "./language_server";
import { showMenu } from "./menu";
import type { Shown } from "./shown";
import type { StatusBar } from "./status_bar";

export interface Surroundings {
  readonly server: LanguageServer;
  /** Of the server, and says what went wrong. */
  readonly restart: () => Promise<void>;
  readonly statusBar: StatusBar;
  readonly shown: Shown;
  readonly log: vscode.OutputChannel;
}

export function registerCommands(
  { subscriptions }: vscode.ExtensionContext,
  { server, restart, statusBar, shown, log }: Surroundings,
): void {
  const tell = async (command: string, ...args: string[]): Promise<void> => {
    const { id } = shown;
    if (id !== undefined) await server.tell(command, [id, ...args]);
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
    // For keys, which have VS Code do the rest itself: a way through this process, which may be busy with other
    // extensions, would show.
    tellWord: () => tell("hyades.accepted", "word"),
    tellLine: () => tell("hyades.accepted", "line"),
    tellDismissed: () => tell("hyades.dismissed"),
    toggle: () => change("enabled", (enabled: boolean) => !enabled),
    toggleLanguage: async () => {
      const language = activeLanguage();
      if (language === undefined) return;
      await change("disabledLanguages", (disabled: readonly string[]) =>
        language.off ? disabled.filter((id) => id !== language.id) : [...disabled, language.id]
      );
    },
    restart,
    showLog: () => Promise.resolve(log.show()),
    openSettings: () => run("workbench.action.openSettings", "hyades."),
    menu: () => showMenu(statusBar.status),
  };
  for (const [name, command] of Object.entries(commands)) {
    subscriptions.push(vscode.commands.registerCommand(`hyades.${name}`, command));
  }
}

/** Where it is set already, if that is the workspace, else for all of the user's. */
async function change<T>(name: string, changed: (value: T) => T): Promise<void> {
  const settings = vscode.workspace.getConfiguration("hyades"), { Workspace, Global } = vscode.ConfigurationTarget;
  const inWorkspace = settings.inspect(name)?.workspaceValue !== undefined;
  await settings.update(name, changed(settings.get<T>(name)!), inWorkspace ? Workspace : Global);
}

async function run(command: string, ...args: string[]): Promise<void> {
  await vscode.commands.executeCommand(command, ...args);
}
