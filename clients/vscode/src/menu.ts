// What a click on the status bar offers. The choices are commands of the extension's.
import * as vscode from "vscode";
import { activeLanguage } from "./active_language";
import { describe, type Status } from "./status_bar";

interface Choice extends vscode.QuickPickItem {
  readonly command: string;
}

export async function showMenu(status: Status): Promise<void> {
  const [title, ...details] = describe(status);
  const choice = await vscode.window.showQuickPick(choices(), { title, placeHolder: details.join(" · ") });
  if (choice === undefined) return;
  // In a browser the status bar would keep the keys.
  await vscode.commands.executeCommand("workbench.action.focusActiveEditorGroup");
  await vscode.commands.executeCommand(choice.command);
}

function choices(): Choice[] {
  const settings = vscode.workspace.getConfiguration("hyades");
  const language = activeLanguage();
  return [
    settings.get("enabled")
      ? { label: "$(circle-slash) Switch off", command: "hyades.toggle" }
      : { label: "$(sparkle) Switch on", command: "hyades.toggle" },
    ...(language === undefined
      ? []
      : [{
        label: `$(file-code) Switch ${language.off ? "on" : "off"} for ${language.id}`,
        command: "hyades.toggleLanguage",
      }]),
    { label: "$(refresh) Restart the language server", command: "hyades.restart" },
    { label: "$(output) Show the log", command: "hyades.showLog" },
    { label: "$(gear) Settings", command: "hyades.openSettings" },
  ];
}
