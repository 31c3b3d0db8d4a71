// An editor for tests: an LSP client with one open document at a time and a cursor in it. Types, asks for completions and
// accepts them as a plugin does, over any pair of streams.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { PassThrough } from "node:stream";
import {
  CancellationTokenSource,
  createProtocolConnection,
  type InitializeResult,
  type InlineCompletionItem,
  type InlineCompletionParams,
  type ProtocolConnection,
} from "vscode-languageserver/node";
import { LanguageServer, type LanguageServerOptions } from "../../clients/lsp/language_server.ts";
import type { Status } from "../../clients/lsp/status.ts";
import { connectStreams } from "../../clients/lsp/stdio.ts";

/** What tests set unless they are about it: no waiting, nothing that is asked unasked, as other files are. */
export const PROMPT_SETTINGS = { debounce: 0, speculative: false, events: false, contextChunks: 0 };

export interface EditorOptions {
  readonly settings?: Record<string, unknown>;
  /** A workspace, as a file URI. */
  readonly folder?: string;
}

export class Editor implements AsyncDisposable {
  readonly statuses: Status[] = [];
  readonly messages: string[] = [];
  initialized!: InitializeResult;
  uri = "";
  text = "";
  /** UTF-16 units before the cursor. */
  cursor = 0;
  readonly #connection: ProtocolConnection;
  #version = 0;
  #texts = new Map<string, { text: string; cursor: number }>();

  constructor(connection: ProtocolConnection) {
    this.#connection = connection;
    connection.onNotification("hyades/status", (status: Status) => void this.statuses.push(status));
    connection.onNotification("window/showMessage", ({ message }) => void this.messages.push(message));
    connection.onRequest("client/registerCapability", () => null);
    connection.listen();
  }

  async start({ settings = PROMPT_SETTINGS, folder }: EditorOptions = {}): Promise<this> {
    this.initialized = await this.#connection.sendRequest("initialize", {
      processId: null,
      rootUri: null,
      capabilities: { textDocument: { inlineCompletion: {} } },
      initializationOptions: settings,
      workspaceFolders: folder ? [{ uri: folder, name: "w" }] : null,
    });
    // Until then a server may answer, but say nothing of its own.
    assert.deepEqual([...this.statuses, ...this.messages], []);
    await this.#connection.sendNotification("initialized", {});
    return this;
  }

  /** `text` with ▮ at the cursor, or the cursor at its end. */
  async open(uri: string, marked: string, languageId = "python"): Promise<void> {
    if (this.uri) this.#texts.set(this.uri, { text: this.text, cursor: this.cursor });
    const cursor = marked.indexOf("▮");
    this.uri = uri;
    this.text = marked.replace("▮", "");
    this.cursor = cursor < 0 ? this.text.length : cursor;
    await this.#connection.sendNotification("textDocument/didOpen", {
      textDocument: { uri, languageId, version: ++this.#version, text: this.text },
    });
  }

  /** Goes back to a document that is open. */
  switchTo(uri: string): void {
    this.#texts.set(this.uri, { text: this.text, cursor: this.cursor });
    ({ text: this.text, cursor: this.cursor } = this.#texts.get(uri)!);
    this.uri = uri;
  }

  async save(): Promise<void> {
    await this.#connection.sendNotification("textDocument/didSave", { textDocument: { uri: this.uri } });
  }

  async close(): Promise<void> {
    await this.#connection.sendNotification("textDocument/didClose", { textDocument: { uri: this.uri } });
  }

  /** Puts text in place of what lies from `cursor - removed` to `cursor + replaced`. */
  async edit(insert: string, removed = 0, replaced = 0): Promise<void> {
    const start = this.cursor - removed, end = this.cursor + replaced;
    const range = { start: this.#position(start), end: this.#position(end) };
    this.text = this.text.slice(0, start) + insert + this.text.slice(end);
    this.cursor = start + insert.length;
    await this.#connection.sendNotification("textDocument/didChange", {
      textDocument: { uri: this.uri, version: ++this.#version },
      contentChanges: [{ range, text: insert }],
    });
  }

  async type(text: string): Promise<void> {
    for (const key of text) await this.edit(key);
  }

  backspace(): Promise<void> {
    return this.edit("", 1);
  }

  /** What the server suggests at the cursor. */
  async ask(
    { invoked = false, selected, cancel }: {
      invoked?: boolean;
      selected?: InlineCompletionParams["context"]["selectedCompletionInfo"];
      cancel?: AbortSignal;
    } = {},
  ): Promise<InlineCompletionItem[]> {
    const source = new CancellationTokenSource();
    cancel?.addEventListener("abort", () => source.cancel(), { once: true });
    return await this.#connection.sendRequest("textDocument/inlineCompletion", {
      textDocument: { uri: this.uri },
      position: this.#position(this.cursor),
      context: { triggerKind: invoked ? 1 : 2, ...(selected && { selectedCompletionInfo: selected }) },
    }, source.token);
  }

  /** The text of the one suggestion at the cursor; undefined where there is none. */
  async suggestion(): Promise<string | undefined> {
    const items = await this.ask();
    assert.ok(items.length <= 1, JSON.stringify(items));
    return items[0]?.insertText as string | undefined;
  }

  async accept({ insertText, range, command }: InlineCompletionItem): Promise<void> {
    const start = this.#offset(range!.start), end = this.#offset(range!.end);
    assert.ok(start <= this.cursor && this.cursor <= end, "the range does not hold the cursor");
    await this.edit(insertText as string, this.cursor - start, end - this.cursor);
    await this.execute(command!.command, command!.arguments!);
  }

  async execute(command: string, args: unknown[]): Promise<void> {
    await this.#connection.sendRequest("workspace/executeCommand", { command, arguments: args });
  }

  async configure(settings: Record<string, unknown>): Promise<void> {
    await this.#connection.sendNotification("workspace/didChangeConfiguration", {
      settings: { hyades: settings },
    });
  }

  /** The first status, from now on or before, that is so. */
  async statusWith(expected: Partial<Status>): Promise<Status> {
    for (let tries = 0; tries < 2000; tries++) {
      const found = this.statuses.find((status) =>
        Object.entries(expected).every(([key, value]) => status[key as keyof Status] === value)
      );
      if (found) return found;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`No status ${JSON.stringify(expected)} among ${JSON.stringify(this.statuses)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.sendRequest("shutdown");
    await this.#connection.sendNotification("exit");
    this.#connection.end();
    this.#connection.dispose();
  }

  #position(offset: number): { line: number; character: number } {
    const lines = this.text.slice(0, offset).split("\n");
    return { line: lines.length - 1, character: lines.at(-1)!.length };
  }

  #offset({ line, character }: { line: number; character: number }): number {
    const lines = this.text.split("\n").slice(0, line);
    return lines.reduce((sum, text) => sum + text.length + 1, 0) + character;
  }
}

/** An editor before a language server in this process, over streams that carry what stdio would. */
export async function editorBefore(
  server: Partial<LanguageServerOptions> & Pick<LanguageServerOptions, "fetch">,
  options: EditorOptions = {},
): Promise<Editor> {
  const toServer = new PassThrough(), toEditor = new PassThrough();
  const { connection } = connectStreams(toServer, toEditor);
  new LanguageServer(connection, {
    baseUrl: "http://hyades.test",
    place: () => "test",
    version: "0",
    ...server,
  });
  connection.listen();
  return await new Editor(createProtocolConnection(toEditor, toServer)).start(options);
}

/** An editor that starts a language server as a process, as plugins do. */
export interface EditorWithProcess extends AsyncDisposable {
  readonly editor: Editor;
  readonly status: Promise<Deno.CommandStatus>;
  /** Closes its input, as an editor that died. */
  readonly hangUp: () => Promise<void>;
}

export async function editorOver(
  command: readonly string[],
  options: EditorOptions & { env?: Record<string, string>; cwd?: string } = {},
): Promise<EditorWithProcess> {
  const [program, ...args] = command;
  const process = new Deno.Command(program, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
    env: { NO_COLOR: "1", ...options.env },
    ...(options.cwd && { cwd: options.cwd }),
  }).spawn();
  const fromServer = new PassThrough(), toServer = new PassThrough();
  const reading = (async () => {
    for await (const bytes of process.stdout) fromServer.write(Buffer.from(bytes));
  })();
  const writer = process.stdin.getWriter();
  toServer.on("data", (bytes: Uint8Array) => void writer.write(new Uint8Array(bytes)).catch(() => {}));
  const editor = await new Editor(createProtocolConnection(fromServer, toServer)).start(options);
  const status = process.status;
  let hungUp = false;
  const hangUp = async () => {
    hungUp = true;
    await writer.close();
    await Promise.all([status, reading]);
  };
  return {
    editor,
    status,
    hangUp,
    async [Symbol.asyncDispose]() {
      if (hungUp) return;
      await editor[Symbol.asyncDispose]();
      await Promise.all([status, reading]);
    },
  };
}
