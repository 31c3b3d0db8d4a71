// Token ids to text, as they come: one per sequence, because a character may be split over tokens.
import type { Tokenizer } from "./tokenizer.ts";

/** Delivers whole characters only; bytes that can never be UTF-8 become U+FFFD. */
export class Detokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /**
   * The text that `id` completes: "" while a character is incomplete, and for control tokens, which have none. What
   * is still incomplete when a sequence ends is half a character, and is never delivered.
   */
  push(id: number): string {
    if (this.#tokenizer.isControl(id)) return "";
    return this.#decoder.decode(this.#tokenizer.bytes(id), { stream: true });
  }
}
