// Token healing: a prompt that ends inside what the model knows as one token is backed up by its last tokens, and the
// first tokens drawn have to spell what was taken away. So "prin" at the cursor can become "print" as the model has always
// seen it, and not "prin" and "t". Each draw is from the model's distribution after the prompt that is left, restricted to
// the tokens that fit and scaled up to 1. Source of the idea: Microsoft's Guidance, "token healing". Pure.
import type { TokenConstraint } from "./token_constraint.ts";
import { byteString, type TokenIndex } from "./token_index.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What a prompt is backed up by. */
export interface Backup {
  /** Tokens at its end; at least 1. */
  readonly numTokens: number;
  /** Their bytes, a character a byte. */
  readonly bytes: string;
}

/**
 * The longest end of a prompt's tokens that is the beginning of a longer token: there the text could have been cut into
 * other tokens, had it gone on. It reaches over no control token.
 * @param ids of the text before the cursor
 * @returns undefined where no longer token begins so: the prompt stays as it is
 */
export function backupOf(
  ids: readonly number[],
  tokenizer: Tokenizer,
  index: TokenIndex,
): Backup | undefined {
  let backup: Backup | undefined, bytes = "";
  for (let numTokens = 1; numTokens <= ids.length; numTokens++) {
    const id = ids[ids.length - numTokens];
    bytes = byteString(tokenizer.bytes(id)) + bytes;
    if (tokenizer.isControl(id) || bytes.length >= tokenizer.longestToken) break;
    if (index.hasLonger(bytes)) backup = { numTokens, bytes };
  }
  return backup;
}

/** Lets nothing be drawn but what spells the bytes that were backed up, and then anything. */
export class HealingConstraint implements TokenConstraint {
  readonly #index: TokenIndex;
  readonly #tokenizer: Tokenizer;
  /** Yet to be spelled. */
  #rest: string;
  #next: Uint32Array | "any";

  /** @param bytes as in `Backup` */
  constructor(bytes: string, tokenizer: Tokenizer, index: TokenIndex) {
    this.#index = index;
    this.#tokenizer = tokenizer;
    this.#rest = bytes;
    this.#next = this.#look();
  }

  get next(): Uint32Array | "any" {
    return this.#next;
  }

  /** Only of a vocabulary that lacks single bytes. */
  get ended(): boolean {
    return this.#next !== "any" && this.#next.every((word) => word === 0);
  }

  accept(id: number) {
    if (this.#rest === "") return;
    this.#rest = this.#rest.slice(this.#tokenizer.bytes(id).length);
    this.#next = this.#look();
  }

  [Symbol.dispose]() {}

  #look(): Uint32Array | "any" {
    return this.#rest === "" ? "any" : this.#index.consistentWith(this.#rest);
  }
}
