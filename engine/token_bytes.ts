// The bytes that each token of a byte-level vocabulary stands for. GPT-2's byte-level BPE writes every byte as one
// printable character; this undoes it once, at load.

/** Bytes of all tokens in one array: token `id` is bytes[offsets[id], offsets[id + 1]). Ids without token are empty. */
export class TokenBytes {
  readonly #bytes: Uint8Array;
  readonly #offsets: Uint32Array;
  /** Length of the longest token, at least 1. */
  readonly longest: number;

  /** `tokens[id]`: a token's bytes; holes are ids that no token maps to. */
  constructor(tokens: readonly (Uint8Array | undefined)[]) {
    this.#offsets = new Uint32Array(tokens.length + 1);
    let end = 0, longest = 1;
    for (let id = 0; id < tokens.length; id++) {
      const length = tokens[id]?.length ?? 0;
      longest = Math.max(longest, length);
      this.#offsets[id + 1] = end += length;
    }
    this.longest = longest;
    this.#bytes = new Uint8Array(end);
    for (let id = 0; id < tokens.length; id++) this.#bytes.set(tokens[id] ?? [], this.#offsets[id]);
  }

  /** A view, not a copy; empty for an id outside the vocabulary. */
  of(id: number): Uint8Array {
    if (!(id >= 0 && id < this.#offsets.length - 1)) return new Uint8Array(0);
    return this.#bytes.subarray(this.#offsets[id], this.#offsets[id + 1]);
  }

  concat(ids: readonly number[]): Uint8Array {
    const parts = ids.map((id) => this.of(id));
    const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      joined.set(part, at);
      at += part.length;
    }
    return joined;
  }
}

/**
 * Maps the characters of byte-level tokens to bytes: printable Latin-1 characters are themselves, the other 68 bytes
 * are U+0100 onwards, in order.
 */
export function byteLevelAlphabet(): Map<string, number> {
  const alphabet = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xff && byte !== 0xad);
    alphabet.set(String.fromCharCode(printable ? byte : next++), byte);
  }
  return alphabet;
}

/** @throws {SyntaxError} when a token has a character that stands for no byte */
export function byteLevelBytes(token: string, alphabet: ReadonlyMap<string, number>): Uint8Array {
  return Uint8Array.from(token, (character) => {
    const byte = alphabet.get(character);
    if (byte === undefined) {
      throw new SyntaxError(`Cannot load tokenizer: ${JSON.stringify(token)} is not a byte-level token`);
    }
    return byte;
  });
}
