// The language server: LSP over a connection on the one side, a completion server behind a `fetch` on the other. Wires
// documents, settings, completions, context and status together, and decides nothing itself.
import {
  type CancellationToken,
  type Connection,
  DidChangeConfigurationNotification,
  type InitializeParams,
  type InitializeResult,
  type InlineCompletionItem,
  type InlineCompletionParams,
  InlineCompletionTriggerKind,
  LSPErrorCodes,
  MessageType,
  ResponseError,
  ShowMessageNotification,
  TextDocuments,
  TextDocumentSyncKind,
} from "vscode-languageserver";
import { TextDocument } from "vscode-languageserver-textdocument";
import { aborted, type Clock, SYSTEM_CLOCK } from "./clock.ts";
import { Completer, type Wish } from "./completer.ts";
import { CompletionClient, type Fetch } from "./completion_client.ts";
import { type Cursor, cursorAt, type Position } from "./cursor.ts";
import { ExcludedFiles } from "./excluded_files.ts";
import { ACCEPTED_COMMAND, DISMISSED_COMMAND, toItem } from "./inline_items.ts";
import type { Rest } from "./known_completions.ts";
import { isLoading, ServerProblem } from "./server_problem.ts";
import { ServerWatch } from "./server_watch.ts";
import { parseSettings, type Settings } from "./settings.ts";
import { type Portion, ShownCompletions } from "./shown_completions.ts";
import { StatusBoard } from "./status.ts";
import { isOff, scopeToAsk } from "./trigger.ts";
import { TypingRhythm } from "./typing_rhythm.ts";
import { pathOf, WorkspaceContext } from "./workspace_context.ts";

export interface LanguageServerOptions {
  readonly fetch: Fetch;
  readonly baseUrl: string;
  readonly apiKey?: string | undefined;
  /** What the status says of where the server is. */
  readonly place: () => string;
  readonly version: string;
  readonly clock?: Clock;
}

/** How often it is looked whether there is time to show the model more files; and what counts as a pause. llama.vim's. */
const CONTEXT_TICK_MS = 1_000;
const PAUSE_MS = 3_000;

export class LanguageServer {
  readonly #connection: Connection;
  readonly #options: LanguageServerOptions;
  readonly #clock: Clock;
  readonly #documents = new TextDocuments(TextDocument);
  readonly #rhythm = new TypingRhythm();
  readonly #client: CompletionClient;
  readonly #completer: Completer;
  readonly #shown: ShownCompletions;
  readonly #status: StatusBoard;
  readonly #watch: ServerWatch;
  #initialSettings: unknown;
  readonly #closed = new AbortController();
  /** Documents whose last change took text away, and how long they are. */
  readonly #deletions = new Map<string, { readonly length: number; readonly deleted: boolean }>();
  #settings: Settings = parseSettings({});
  #context = new WorkspaceContext(0, new ExcludedFiles(), []);
  #folders: string[] = [];
  /** The editor sends changed settings only when asked to. */
  #asksForSettings = false;
  #lastCursor: Cursor | undefined;

  /** Speaks once `connection.listen()` is called. */
  constructor(connection: Connection, options: LanguageServerOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#client = new CompletionClient({ ...options, session: `lsp-${crypto.randomUUID()}` });
    this.#status = new StatusBoard((status) => void connection.sendNotification("hyades/status", status));
    this.#watch = new ServerWatch(this.#client, this.#clock, this.#closed.signal, {
      answers: (model) =>
        this.#status.update({
          state: this.#settings.enabled ? "ready" : "off",
          model,
          server: options.place(),
        }),
      fails: (error) =>
        this.#status.update({ state: isLoading(error) ? "loading" : "error", message: error.message }),
    });
    this.#shown = new ShownCompletions((event) => {
      if (!this.#settings.events) return;
      this.#client.tell(event, this.#closed.signal).catch(() => {}); // Nobody's work depends on it.
    });
    this.#completer = new Completer(this.#client, this.#rhythm, this.#clock, {
      asking: () => this.#status.update({ state: "working" }),
      answered: (ms) =>
        this.#status.update({ state: "ready", ...(ms !== undefined && { latencyMs: Math.round(ms) }) }),
      failedAhead: () => {}, // The same request fails again where it is wanted, and is explained there.
    });
    this.#listen();
  }

  #listen(): void {
    const connection = this.#connection, documents = this.#documents;
    connection.onInitialize((params) => this.#initialize(params));
    connection.onInitialized(() => this.#initialized());
    connection.onDidChangeConfiguration(({ settings }) => this.#configure(settings?.hyades ?? settings));
    connection.onExecuteCommand(({ command, arguments: args = [] }) => this.#execute(command, args));
    connection.languages.inlineCompletion.on((params, token) => this.#complete(params, token));
    connection.onShutdown(() => this.#closed.abort());
    documents.onDidOpen(({ document }) => this.#besides(this.#context.opened(document)));
    documents.onDidChangeContent(({ document }) => this.#changed(document));
    documents.onDidSave(({ document }) => this.#besides(this.#context.saved(document)));
    documents.onDidClose(({ document }) => {
      this.#context.closed(document.uri);
      this.#deletions.delete(document.uri);
    });
    documents.listen(connection);
  }

  #initialize(
    { initializationOptions, workspaceFolders, rootUri, capabilities }: InitializeParams,
  ): InitializeResult {
    this.#asksForSettings = capabilities.workspace?.didChangeConfiguration?.dynamicRegistration ?? false;
    const uris = workspaceFolders?.map(({ uri }) => uri) ?? (rootUri ? [rootUri] : []);
    this.#folders = uris.flatMap((uri) => pathOf(uri) ?? []);
    this.#initialSettings = initializationOptions;
    return {
      capabilities: {
        textDocumentSync: { openClose: true, change: TextDocumentSyncKind.Incremental, save: true },
        inlineCompletionProvider: true,
        executeCommandProvider: { commands: [ACCEPTED_COMMAND, DISMISSED_COMMAND] },
      },
      serverInfo: { name: "hyades", version: this.#options.version },
    };
  }

  /** Before it nothing may be sent but the answer to `initialize`. */
  #initialized(): void {
    this.#configure(this.#initialSettings);
    if (this.#asksForSettings) {
      void this.#connection.client.register(DidChangeConfigurationNotification.type, { section: "hyades" });
    }
    void this.#watch.poll();
    void this.#feedContext();
  }

  /** Wrong settings are named, and those before stay. */
  #configure(given: unknown): void {
    try {
      this.#settings = parseSettings(given);
    } catch (error) {
      this.#say(MessageType.Error, (error as Error).message);
    }
    const { contextChunks, exclude, enabled } = this.#settings;
    this.#context = new WorkspaceContext(contextChunks, new ExcludedFiles(exclude), this.#folders);
    for (const document of this.#documents.all()) this.#besides(this.#context.opened(document));
    if (!enabled) this.#status.update({ state: "off" });
    else if (this.#status.status.state === "off") this.#status.update({ state: this.#stateWhenOn() });
  }

  /** Nothing can be answered before the server has named its model. */
  #stateWhenOn(): "ready" | "starting" {
    return this.#status.status.model === undefined ? "starting" : "ready";
  }

  #changed({ uri, getText }: TextDocument): void {
    const length = getText.call(this.#documents.get(uri)).length;
    const before = this.#deletions.get(uri);
    this.#deletions.set(uri, { length, deleted: before !== undefined && length < before.length });
    if (before) this.#rhythm.keyTyped(this.#clock.now());
  }

  async #complete(
    params: InlineCompletionParams,
    token: CancellationToken,
  ): Promise<InlineCompletionItem[] | ResponseError<void>> {
    const signal = signalOf(token);
    const invoked = params.context.triggerKind === InlineCompletionTriggerKind.Invoked;
    try {
      const wish = await this.#wishAt(params, invoked);
      if (!wish) return [];
      const rests = await this.#completer.complete(wish, signal)
        .catch((error) => this.#onceLoaded(error, wish, signal));
      if (signal.aborted) return new ResponseError(LSPErrorCodes.RequestCancelled, "Another key was typed");
      for (const { completion } of rests) this.#shown.view(completion.id, this.#clock.now());
      if (rests.length > 0) this.#completer.askAhead(wish, rests[0]);
      return rests.map((rest) => toItem(params, rest));
    } catch (error) {
      if (signal.aborted) return new ResponseError(LSPErrorCodes.RequestCancelled, "Another key was typed");
      this.#explain(error, invoked);
      return [];
    }
  }

  /** What is typed first, and then looked at, is typed while the model loads: it is answered when it can be. */
  async #onceLoaded(error: unknown, wish: Wish, signal: AbortSignal): Promise<Rest[]> {
    if (wish.invoked || !isLoading(error)) throw error;
    this.#explain(error, wish.invoked);
    await Promise.race([this.#watch.poll(), aborted(signal)]);
    if (signal.aborted || this.#closed.signal.aborted) return [];
    return await this.#completer.complete(wish, signal);
  }

  /** Undefined where nothing is to be suggested. */
  async #wishAt(
    { textDocument: { uri }, position, context }: InlineCompletionParams,
    invoked: boolean,
  ): Promise<Wish | undefined> {
    const document = this.#documents.get(uri);
    if (!document || await this.#context.exclusionOf(uri) === "secret") return undefined;
    const cursor = cursorAt(document, position, context.selectedCompletionInfo);
    if (!cursor) return undefined;
    await this.#visit(document, position);
    this.#lastCursor = cursor;
    const occasion = {
      invoked,
      itemSelected: context.selectedCompletionInfo !== undefined,
      deleted: this.#deletions.get(uri)?.deleted ?? false,
    };
    const scope = scopeToAsk(cursor, occasion, this.#settings);
    // Nor is what is known already.
    if (!invoked && isOff(this.#settings, cursor.languageId)) return undefined;
    return { ...this.#surroundings(), cursor, scope, invoked };
  }

  #surroundings(): Pick<Wish, "settings" | "chunksBeside" | "filenameOf"> {
    return {
      settings: this.#settings,
      chunksBeside: (text, uri) => this.#context.ring.beside(text, uri),
      filenameOf: (uri) => this.#context.filenameOf(uri),
    };
  }

  async #visit(document: TextDocument, { line }: Position): Promise<void> {
    const { activeUri } = this.#context;
    await this.#context.visited(
      document,
      line,
      activeUri === undefined ? undefined : this.#documents.get(activeUri),
    );
  }

  #execute(command: string, [id, portion]: unknown[]): null {
    if (typeof id !== "string") {
      throw new TypeError(`Cannot run ${command}: its first argument must be a completion's id`);
    }
    if (command === ACCEPTED_COMMAND) {
      this.#shown.select(id, (portion ?? "all") as Portion, this.#clock.now());
    }
    if (command === DISMISSED_COMMAND) {
      this.#completer.known.refuse(id);
      this.#shown.dismiss(id, this.#clock.now());
    }
    return null;
  }

  /** In the status, where it disturbs nobody; whoever asked by hand is told. */
  #explain(error: unknown, invoked: boolean): void {
    const message = error instanceof Error ? error.message : String(error);
    this.#status.update({ state: isLoading(error) ? "loading" : "error", message });
    if (!(error instanceof ServerProblem)) {
      this.#connection.console.error(`${(error as Error).stack ?? error}`);
    }
    if (invoked) this.#say(MessageType.Warning, message);
    void this.#watch.poll();
  }

  /** What nobody waits for must not end the process. */
  #besides(work: Promise<void>): void {
    work.catch((error) => this.#connection.console.error(`${error.stack ?? error}`));
  }

  #say(type: MessageType, message: string): void {
    void this.#connection.sendNotification(ShowMessageNotification.type, {
      type,
      message: `Hyades: ${message}`,
    });
  }

  /** Shows the model what has queued up when one pauses, and has the server read it before it is needed. */
  async #feedContext(): Promise<void> {
    const { signal } = this.#closed;
    for (; !signal.aborted; await this.#clock.delay(CONTEXT_TICK_MS, signal)) {
      const { ring, activeUri } = this.#context, cursor = this.#lastCursor;
      if (!ring.hasQueued || !cursor || cursor.uri !== activeUri) continue;
      if (isOff(this.#settings, cursor.languageId)) continue;
      if (this.#rhythm.idleMs(this.#clock.now()) < PAUSE_MS) continue;
      ring.takeQueued("one");
      const wish = { ...this.#surroundings(), cursor, scope: undefined, invoked: false };
      await this.#completer.warmUp(wish, signal).catch(() => {}); // Whoever completes next is told what is wrong.
    }
  }
}

function signalOf(token: CancellationToken): AbortSignal {
  const controller = new AbortController();
  if (token.isCancellationRequested) controller.abort();
  token.onCancellationRequested(() => controller.abort());
  return controller.signal;
}
