// The item in the status bar: what the server does, and how long the last suggestion took.
import * as vscode from "vscode";
import { activeLanguage } from "./active_language";

/** As the language server tells it with `hyades/status`. */
export interface Status {
  readonly state: "starting" | "loading" | "ready" | "working" | "error" | "off";
  readonly model?: string;
  readonly latencyMs?: number;
  readonly server?: string;
  readonly message?: string;
}

const ICONS: Record<Status["state"], string> = {
  starting: "$(loading~spin)",
  loading: "$(loading~spin)",
  ready: "$(sparkle)",
  working: "$(sync~spin)",
  error: "$(warning)",
  off: "$(circle-slash)",
};

export class StatusBar implements vscode.Disposable {
  readonly #item = vscode.window.createStatusBarItem("hyades.status", vscode.StatusBarAlignment.Right, 100);
  readonly #watching: vscode.Disposable;
  #status: Status = { state: "starting" };

  constructor() {
    this.#item.name = "Hyades";
    this.#item.command = "hyades.menu";
    this.#item.show();
    const again = () => this.show(this.#status);
    this.#watching = vscode.Disposable.from(
      vscode.window.onDidChangeActiveTextEditor(again),
      vscode.workspace.onDidChangeConfiguration(again),
    );
  }

  /** What is shown. */
  get status(): Status {
    return this.#status;
  }

  show(status: Status): void {
    this.#status = status;
    const { latencyMs } = status, language = activeLanguage();
    const offHere = status.state === "ready" && language?.off === true;
    const state = offHere ? "off" : status.state;
    const off = offHere ? `off for ${language.id}` : "off";
    const said = { starting: "starting", loading: "loading model", error: "error", off } as const;
    const word = state in said ? ` ${said[state as keyof typeof said]}` : "";
    const time = latencyMs !== undefined && word === "" ? ` ${latencyMs} ms` : "";
    this.#item.text = `${ICONS[state]} Hyades${word}${time}`;
    this.#item.tooltip = [...describe(status), "Click for more"].join("\n");
    const warning = new vscode.ThemeColor("statusBarItem.warningBackground");
    this.#item.backgroundColor = state === "error" ? warning : undefined;
  }

  dispose(): void {
    this.#watching.dispose();
    this.#item.dispose();
  }
}

/** In lines, of which the first is the state. */
export function describe({ state, model, server, latencyMs, message }: Status): string[] {
  return [
    `Hyades: ${state}`,
    ...(message ? [message] : []),
    ...(model ? [`Model: ${model}`] : []),
    ...(server ? [`Server: ${server}`] : []),
    ...(latencyMs !== undefined ? [`Last suggestion: ${latencyMs} ms`] : []),
  ];
}
