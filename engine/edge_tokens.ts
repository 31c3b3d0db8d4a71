// The tokens at the end or at the start of a text, however long it is: encodes no more of it than it must.
import type { Cut } from "./anchored_cut.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Bytes of text encoded per token wanted at first; code has three to four to a token. */
const BYTES_PER_TOKEN = 6;

/** Tokens beside a cut that may be others than the whole text's: of half a word, or of half a control token's name. */
const UNSURE = 16;

/** The tokens of the end of `text`, at least `count` of them where there are as many. */
export function lastTokens(
  tokenizer: Tokenizer,
  text: string,
  count: number,
  options: { readonly parseSpecial?: boolean } = {},
): Cut {
  for (let length = (count + UNSURE) * BYTES_PER_TOKEN;; length *= 2) {
    if (length >= text.length) return { ids: tokenizer.encode(text, options), truncated: false };
    const start = afterLineBreak(text, text.length - length);
    const ids = tokenizer.encode(text.slice(start), options);
    if (ids.length >= count + UNSURE) return { ids, truncated: true };
  }
}

/** As `lastTokens`, from the start of `text`. */
export function firstTokens(tokenizer: Tokenizer, text: string, count: number): Cut {
  for (let length = (count + UNSURE) * BYTES_PER_TOKEN;; length *= 2) {
    if (length >= text.length) return { ids: tokenizer.encode(text), truncated: false };
    const lineBreak = text.lastIndexOf("\n", length - 1);
    const end = lineBreak > length / 2 ? lineBreak + 1 : withinCharacter(text, length) ? length + 1 : length;
    const ids = tokenizer.encode(text.slice(0, end));
    if (ids.length >= count + UNSURE) return { ids, truncated: true };
  }
}

/** The start of a line at or soon after `index`, so that what is encoded begins where the model saw tokens begin. */
function afterLineBreak(text: string, index: number): number {
  const lineBreak = text.indexOf("\n", index);
  if (lineBreak >= 0 && lineBreak - index < (text.length - index) / 2) return lineBreak + 1;
  return withinCharacter(text, index) ? index - 1 : index;
}

/** Whether `index` falls between the two halves of a character outside the basic plane. */
function withinCharacter(text: string, index: number): boolean {
  return /^[\uD800-\uDBFF][\uDC00-\uDFFF]$/.test(text.slice(index - 1, index + 1));
}
