// The language of the open file, and whether it is one in which nothing is suggested unasked.
import * as vscode from "vscode";

export interface ActiveLanguage {
  /** As VS Code names it. */
  readonly id: string;
  readonly off: boolean;
}

/** Undefined where no file is open. */
export function activeLanguage(): ActiveLanguage | undefined {
  const id = vscode.window.activeTextEditor?.document.languageId;
  if (id === undefined) return undefined;
  const disabled = vscode.workspace.getConfiguration("hyades").get<string[]>("disabledLanguages", []);
  return { id, off: disabled.includes(id) };
}
