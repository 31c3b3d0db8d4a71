// Token ids to text, as they come: one per sequence, because a character may be split over tokens.
import type { Tokenizer } from "./tokenizer.ts";

/** Delivers whole characters only; bytes that can never be UTF-8 become U+FFFD. */
export class Detokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #typed: number;

  /** @param typed bytes at the beginning that are the prompt's (`token_healing.ts`), and not delivered */
  constructor(tokenizer: Tokenizer, typed = 0) {
    this.#tokenizer = tokenizer;
    this.#typed = typed;
  }

  /** Whether `id`, as the next token, brings nothing but bytes that are the prompt's. */
  isTyped(id: number): boolean {
    return this.#typed > 0 && this.#tokenizer.bytes(id).length <= this.#typed;
  }

  /**
   * The text that `id` completes: "" while a character is incomplete, and for control tokens, which have none. What
   * is still incomplete when a sequence ends is half a character, and is never delivered.
   */
  push(id: number): string {
    if (this.#tokenizer.isControl(id)) return "";
    const bytes = this.#tokenizer.bytes(id), typed = Math.min(this.#typed, bytes.length);
    this.#typed -= typed;
    return this.#decoder.decode(bytes.subarray(typed), { stream: true });
  }
}
