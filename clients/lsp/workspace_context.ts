// Watches which files are open and where they are edited, and offers pieces of them to the ring. Leaves out what git
// ignores and what holds secrets.
import { dirname, fromFileUrl, relative } from "std/path/mod.js";
import type { TextDocument } from "vscode-languageserver-textdocument";
import { type ContextChunk, linesAround } from "./context_chunk.ts";
import { ContextRing } from "./context_ring.ts";
import { type ExcludedFiles, type Exclusion, holdsSecret } from "./excluded_files.ts";

/** A jump this far leaves the lines that were looked at worth remembering. Lines; llama.vim's. */
const FAR = 32;

export class WorkspaceContext {
  readonly ring: ContextRing;
  readonly #excluded: ExcludedFiles;
  /** Of the workspace, absolute paths. */
  readonly #folders: readonly string[];
  readonly #lines = new Map<string, number>();
  #active: string | undefined;

  constructor(maxChunks: number, excluded: ExcludedFiles, folders: readonly string[]) {
    this.ring = new ContextRing(maxChunks);
    this.#excluded = excluded;
    this.#folders = folders;
  }

  /** The document that one writes in. */
  get activeUri(): string | undefined {
    return this.#active;
  }

  /** Why a document is left out; undefined when it is not. Only files can be. */
  async exclusionOf(uri: string): Promise<Exclusion | undefined> {
    const path = pathOf(uri);
    return path === undefined ? undefined : await this.#excluded.find(path, this.#folderOf(path));
  }

  /** Its beginning: imports and declarations. */
  opened(document: TextDocument): Promise<void> {
    return this.#offer(document, 0);
  }

  saved(document: TextDocument): Promise<void> {
    return this.#offer(document, this.#lines.get(document.uri) ?? 0);
  }

  /** Edited or looked at here. */
  async visited(document: TextDocument, line: number, left: TextDocument | undefined): Promise<void> {
    const { uri } = document, before = this.#lines.get(uri);
    this.#lines.set(uri, line);
    const from = this.#active;
    this.#active = uri;
    if (from !== undefined && from !== uri) {
      if (left) await this.#offer(left, this.#lines.get(from) ?? 0);
      // The server has to read another file from its beginning anyway.
      this.ring.takeQueued("all");
    } else if (before !== undefined && Math.abs(before - line) > FAR) {
      await this.#offer(document, before);
    } else if (from === undefined) {
      this.ring.takeQueued("all");
    }
  }

  closed(uri: string): void {
    this.#lines.delete(uri);
    if (this.#active === uri) this.#active = undefined;
  }

  async #offer(document: TextDocument, line: number): Promise<void> {
    const chunk = this.#chunkOf(document, line);
    if (!chunk || holdsSecret(chunk.text) || await this.exclusionOf(document.uri)) return;
    this.ring.offer(chunk);
  }

  /** Its path within the workspace, or its bare name outside of one; undefined for what is no file. */
  filenameOf(uri: string): string | undefined {
    const path = pathOf(uri);
    return path === undefined ? undefined : relative(this.#folderOf(path), path).replaceAll("\\", "/");
  }

  /** Undefined for what is no file. */
  #chunkOf(document: TextDocument, line: number): ContextChunk | undefined {
    const filename = this.filenameOf(document.uri);
    if (filename === undefined) return undefined;
    const text = linesAround(document.getText().replaceAll("\r\n", "\n"), line);
    return { uri: document.uri, filename, text };
  }

  /** Of the workspace that holds the file, the innermost; else the file's own. */
  #folderOf(path: string): string {
    const holding = this.#folders.filter((folder) => !relative(folder, path).startsWith(".."));
    return holding.sort((a, b) => b.length - a.length)[0] ?? dirname(path);
  }
}

/** Undefined where the document is no file. */
export function pathOf(uri: string): string | undefined {
  try {
    const path = uri.startsWith("file:") ? fromFileUrl(uri) : "";
    return /^(?:[A-Za-z]:)?[\\/]*$/.test(path) ? undefined : path;
  } catch {
    return undefined; // No address of a file on this machine.
  }
}
