// The language server's process: started, started anew by other settings, and what becomes of it. Draws nothing.
import * as vscode from "vscode";
import { LanguageClient, type LanguageClientOptions, State } from "vscode-languageclient/node";
import { serverCommand } from "./server_command";
import type { Shown } from "./shown";
import type { Status } from "./status_bar";

export interface Surroundings {
  readonly log: vscode.LogOutputChannel;
  readonly shown: Shown;
  /** Called with whatever is news of the server. */
  readonly report: (status: Status) => void;
}

export class LanguageServer {
  readonly #surroundings: Surroundings;
  #client: LanguageClient | undefined;
  #watching: vscode.Disposable | undefined;
  /** Of starts and stops, which come one after the other. */
  #last: Promise<void> = Promise.resolve();

  constructor(surroundings: Surroundings) {
    this.#surroundings = surroundings;
  }

  get running(): boolean {
    return this.#client?.isRunning() ?? false;
  }

  /** Ends the one that runs, if any, and starts one by the settings as they are then. Failure is reported. */
  restart(): Promise<void> {
    return this.#last = this.#last.then(async () => {
      await this.#end();
      await this.#start();
    });
  }

  stop(): Promise<void> {
    return this.#last = this.#last.then(() => this.#end());
  }

  /** A command of the server's own. One that it cannot be told is logged: it is news to it, no wish of the user's. */
  async tell(command: string, args: readonly string[]): Promise<void> {
    try {
      await this.#client?.sendRequest("workspace/executeCommand", { command, arguments: args });
    } catch (error) {
      this.#surroundings.log.warn(`Cannot tell the language server ${command}: ${messageOf(error)}`);
    }
  }

  async #start(): Promise<void> {
    const { report } = this.#surroundings;
    report({ state: "starting" });
    try {
      const client = this.#client = this.#makeClient();
      client.onNotification("hyades/status", report);
      this.#watching = client.onDidChangeState(({ newState }) => {
        if (newState === State.Starting) report({ state: "starting" });
        if (newState === State.Stopped) report({ state: "error", message: "The language server has ended" });
      });
      await client.start();
    } catch (error) {
      report({ state: "error", message: messageOf(error) });
    }
  }

  async #end(): Promise<void> {
    this.#watching?.dispose();
    // One that never ran says so when it is stopped.
    await this.#client?.dispose().catch(() => {});
    this.#client = undefined;
  }

  /** @throws {Error} there is nothing to run */
  #makeClient(): LanguageClient {
    const { log, shown } = this.#surroundings;
    const settings = vscode.workspace.getConfiguration("hyades");
    const { command, args, env } = serverCommand(settings);
    const options: LanguageClientOptions = {
      documentSelector: [{ scheme: "file" }, { scheme: "untitled" }],
      initializationOptions: settings,
      synchronize: { configurationSection: "hyades" },
      outputChannel: log,
      middleware: {
        provideInlineCompletionItems: async (document, position, context, token, next) => {
          const items = await next(document, position, context, token);
          // One that a key has cancelled since says nothing of what is shown.
          if (!token.isCancellationRequested) shown.remember(items);
          return items;
        },
      },
    };
    const executable = { command, args, options: { env: { ...process.env, ...env } } };
    return new LanguageClient("hyades", "Hyades", executable, options);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
