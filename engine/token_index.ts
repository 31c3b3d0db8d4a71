// The tokens of a vocabulary in the order of their bytes: which of them begin with given bytes, and which are a beginning
// of those. Bytes are strings of one character (U+0000 to U+00FF) a byte, which compare and sort as bytes do.
import { maskWords } from "../kernels/sampling/token_mask.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A token's bytes as a string, a character a byte. */
export function byteString(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

export class TokenIndex {
  /** Of all tokens, in ascending order. */
  readonly #keys: readonly string[];
  /** `#ids[i]` is the token with the bytes `#keys[i]`. */
  readonly #ids: Uint32Array;
  readonly #vocabSize: number;

  /**
   * @param vocabSize ids of the model's head; masks are over these
   * @param isWanted whether a token is to be among them; those that stand for no bytes never are
   */
  constructor(tokenizer: Tokenizer, vocabSize: number, isWanted: (id: number) => boolean) {
    const ids = Array.from({ length: Math.min(vocabSize, tokenizer.vocabSize) }, (_, id) => id).filter(
      isWanted,
    );
    const tokens = ids.map((id) => ({ id, key: byteString(tokenizer.bytes(id)) })).filter(({ key }) =>
      key !== ""
    );
    tokens.sort((a, b) => a.key < b.key ? -1 : a.key > b.key ? 1 : a.id - b.id);
    this.#keys = tokens.map(({ key }) => key);
    this.#ids = Uint32Array.from(tokens, ({ id }) => id);
    this.#vocabSize = vocabSize;
  }

  /** Whether a token begins with `bytes` and goes on after them. */
  hasLonger(bytes: string): boolean {
    const [, end] = this.#startingWith(bytes);
    return end > 0 && this.#keys[end - 1].length > bytes.length && this.#keys[end - 1].startsWith(bytes);
  }

  /** The tokens that begin with `bytes`, and those that `bytes` begins with; none of the mask's words is set if none does. */
  consistentWith(bytes: string): Uint32Array<ArrayBuffer> {
    const mask = new Uint32Array(maskWords(this.#vocabSize));
    const [start, end] = this.#startingWith(bytes);
    for (let i = start; i < end; i++) this.#add(mask, i);
    for (let length = 1; length < bytes.length; length++) {
      const beginning = bytes.slice(0, length);
      for (let i = this.#firstFrom(beginning); this.#keys[i] === beginning; i++) this.#add(mask, i);
    }
    return mask;
  }

  #add(mask: Uint32Array, i: number) {
    const id = this.#ids[i];
    mask[id >>> 5] |= 1 << (id & 31);
  }

  /** The range [start, end) of `#keys` that begin with `bytes`. */
  #startingWith(bytes: string): [number, number] {
    // U+0100 comes after every byte, so this is the first string past all that begin with `bytes`.
    return [this.#firstFrom(bytes), this.#firstFrom(`${bytes}\u0100`)];
  }

  /** Index of the first key that is not before `bytes`. */
  #firstFrom(bytes: string): number {
    let low = 0, high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle] < bytes) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
