// Text to token ids and back, for byte-level BPE vocabularies. Control tokens come out of text only where the caller
// asks for it, so that source code which happens to contain "<fim_suffix>" stays source code.
import { Tokenizer as BpeTokenizer } from "@huggingface/tokenizers";
import { controlTokenNames } from "./control_tokens.ts";
import { encodesLinesApart, LineEncoder } from "./line_encoder.ts";
import { TokenBytes } from "./token_bytes.ts";
import {
  type AddedTokenJson,
  mendTokenizerJson,
  parseTokenizerJson,
  tokenByteTable,
  type TokenizerJson,
} from "./tokenizer_json.ts";

export interface TokenizerOptions {
  /** Tokens to treat as control tokens besides those that tokenizer.json calls special and the known ones. */
  readonly controlTokens?: readonly string[];
}

export class Tokenizer {
  readonly #bpe: BpeTokenizer;
  readonly #lines: LineEncoder | undefined;
  readonly #bytes: TokenBytes;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #mapped: Uint8Array;
  readonly #control: ReadonlyMap<string, AddedTokenJson>;
  readonly #controlIds: ReadonlySet<number>;
  readonly #controlPattern: RegExp | undefined;

  /**
   * @param tokenizerJson tokenizer.json as parsed
   * @param tokenizerConfig tokenizer_config.json as parsed; its clean-up of spaces is ignored, as it corrupts code
   * @throws {SyntaxError} when it is no byte-level BPE tokenizer
   */
  constructor(tokenizerJson: unknown, tokenizerConfig: unknown = {}, options: TokenizerOptions = {}) {
    const json = parseTokenizerJson(tokenizerJson);
    this.#control = findControlTokens(
      json,
      new Set([...controlTokenNames(), ...options.controlTokens ?? []]),
    );
    this.#controlIds = new Set(Array.from(this.#control.values(), ({ id }) => id));
    this.#controlPattern = alternation([...this.#control.keys()]);
    const config = { ...(tokenizerConfig ?? {}), clean_up_tokenization_spaces: false };
    this.#bpe = openBpe(mendTokenizerJson(json, new Set(this.#control.keys())), config);
    // An added token that is no control token may stand anywhere in a text, also across a line's end.
    const addsTokens = json.added_tokens.some(({ content }) => !this.#control.has(content));
    if (encodesLinesApart(json) && !addsTokens) {
      this.#lines = new LineEncoder((line) => this.#encodeWhole(line));
    }
    const table = tokenByteTable(json);
    this.#bytes = new TokenBytes(table);
    this.#mapped = Uint8Array.from(table, (bytes) => bytes ? 1 : 0);
    this.#ids = new Map([
      ...Object.entries(json.model.vocab),
      ...json.added_tokens.map(({ content, id }): [string, number] => [content, id]),
    ]);
  }

  /** One more than the highest id that a token maps to. */
  get vocabSize(): number {
    return this.#mapped.length;
  }

  /** Bytes of the longest token. */
  get longestToken(): number {
    return this.#bytes.longest;
  }

  /** Whether any token maps to `id`; rows of the output head that none maps to are padding. */
  has(id: number): boolean {
    return this.#mapped[id] === 1;
  }

  /** The id of the token spelled so in tokenizer.json. */
  idOf(token: string): number | undefined {
    return this.#ids.get(token);
  }

  isControl(id: number): boolean {
    return this.#controlIds.has(id);
  }

  /** The bytes that a token stands for; a view. */
  bytes(id: number): Uint8Array {
    return this.#bytes.of(id);
  }

  /**
   * Text to ids; nothing is added in front or behind. With `parseSpecial`, text that spells a control token becomes
   * it; without, no control token ever comes out.
   */
  encode(text: string, options: { readonly parseSpecial?: boolean } = {}): number[] {
    if (!options.parseSpecial || !this.#controlPattern) return this.#encodePlain(text);
    const ids: number[] = [];
    const sections = text.split(this.#controlPattern);
    // Splitting by a captured group alternates: text, control token, text, ...
    for (let i = 0; i < sections.length; i++) {
      const control = i % 2 === 1 ? this.#control.get(sections[i]) : undefined;
      if (control) ids.push(control.id);
      else for (const id of this.#encodePlain(this.#strip(sections, i))) ids.push(id);
    }
    return ids;
  }

  /** Ids to text, control tokens spelled out. Bytes that are no UTF-8 become U+FFFD. */
  decode(ids: readonly number[]): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.#bytes.concat(ids));
  }

  /**
   * Fewest tokens that `text` can have: cheap and never too many, so that a text which cannot fit is refused before
   * it is encoded.
   */
  fewestTokens(text: string): number {
    const normalized = this.#bpe.normalizer?.normalize(text) ?? text;
    // A character is at least a byte, and no token has more bytes than the longest.
    return Math.ceil(normalized.length / this.#bytes.longest);
  }

  #encodePlain(text: string): number[] {
    return this.#lines ? this.#lines.encode(text) : this.#encodeWhole(text);
  }

  #encodeWhole(text: string): number[] {
    return text === "" ? [] : this.#bpe.encode(text, { add_special_tokens: false }).ids;
  }

  /** Section `i` without the blanks that its neighbours claim by `rstrip` and `lstrip`. */
  #strip(sections: readonly string[], i: number): string {
    let text = sections[i];
    if (this.#control.get(sections[i - 1])?.rstrip) text = text.trimStart();
    if (this.#control.get(sections[i + 1])?.lstrip) text = text.trimEnd();
    return text;
  }
}

/** The library checks nothing: what it cannot read fails somewhere within. @throws {SyntaxError} saying where to look */
function openBpe(json: object, config: object): BpeTokenizer {
  try {
    return new BpeTokenizer(json, config);
  } catch (error) {
    throw new SyntaxError(
      `Cannot load tokenizer: tokenizer.json holds what cannot be read: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/** Tokens that are marked special, or known as control tokens by name, by their spelling. */
function findControlTokens(json: TokenizerJson, names: ReadonlySet<string>): Map<string, AddedTokenJson> {
  const control = new Map<string, AddedTokenJson>();
  for (const name of names) {
    if (Object.hasOwn(json.model.vocab, name)) {
      control.set(name, { id: json.model.vocab[name], content: name });
    }
  }
  for (const token of json.added_tokens) {
    if (token.special || names.has(token.content)) control.set(token.content, token);
  }
  return control;
}

/** Matches any of `words`, the longest first, as a captured group. */
function alternation(words: readonly string[]): RegExp | undefined {
  if (words.length === 0) return undefined;
  const escaped = words.toSorted((a, b) => b.length - a.length).map((word) =>
    word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
  );
  return new RegExp(`(${escaped.join("|")})`);
}
