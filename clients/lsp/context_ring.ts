// Which pieces of other files the model is shown. They stand at the prompt's beginning, so that a change among them has
// the server read all of it again: new pieces wait in a queue until that costs nobody a moment. Pure. The sizes and
// shares are llama.vim's.
import { containment, type ContextChunk, similarity } from "./context_chunk.ts";

const MAX_QUEUED = 16;
const SAME = 0.9;
const IN_VIEW = 0.5;
/** A file that is being written has lines in common with its own older pieces, and few with its other parts. */
const IN_VIEW_ITSELF = 0.3;

export class ContextRing {
  /** Shown, the oldest first. */
  #kept: ContextChunk[] = [];
  /** To be shown, the oldest first. */
  #queued: ContextChunk[] = [];
  readonly #maxKept: number;

  constructor(maxKept: number) {
    this.#maxKept = maxKept;
  }

  get hasQueued(): boolean {
    return this.#queued.length > 0;
  }

  /** Takes a piece into the queue, in place of one that is nearly the same. */
  offer(chunk: ContextChunk): void {
    if (this.#maxKept === 0 || chunk.text.trim() === "") return;
    if (this.#kept.some((kept) => isShown(kept, chunk))) return;
    this.#queued = [...this.#queued.filter((other) => !isSame(other, chunk)), chunk].slice(-MAX_QUEUED);
  }

  /** Shows the piece that waited longest, or all of them. */
  takeQueued(howMany: "one" | "all"): void {
    const taken = this.#queued.splice(0, howMany === "one" ? 1 : Infinity);
    for (const chunk of taken) {
      this.#kept = [...this.#kept.filter((other) => !isSame(other, chunk)), chunk].slice(-this.#maxKept);
    }
  }

  /** Of a file that is not to be shown any more, or not as it was. */
  forget(uri: string): void {
    this.#kept = this.#kept.filter((chunk) => chunk.uri !== uri);
    this.#queued = this.#queued.filter((chunk) => chunk.uri !== uri);
  }

  /** The pieces to show beside a text of a file; those that the text has itself are given up. */
  beside(text: string, uri: string): readonly ContextChunk[] {
    this.#kept = this.#kept.filter((chunk) =>
      containment(chunk.text, text) <= (chunk.uri === uri ? IN_VIEW_ITSELF : IN_VIEW)
    );
    return this.#kept;
  }
}

function isSame(one: ContextChunk, other: ContextChunk): boolean {
  return similarity(one.text, other.text) > SAME;
}

/** Nothing new to say: the same piece of the same file. */
function isShown(kept: ContextChunk, chunk: ContextChunk): boolean {
  return kept.uri === chunk.uri && kept.text === chunk.text;
}
