// Reads what the engine needs of a Hugging Face tokenizer.json, and mends what @huggingface/tokenizers would read
// otherwise than the Rust library that trained with it.
import { byteLevelAlphabet, byteLevelBytes } from "./token_bytes.ts";

export interface AddedTokenJson {
  readonly id: number;
  readonly content: string;
  readonly special?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
}

export interface TokenizerJson {
  readonly added_tokens: readonly AddedTokenJson[];
  readonly model: { readonly vocab: Readonly<Record<string, number>>; readonly unk_token?: string | null };
  readonly pre_tokenizer: unknown;
  readonly decoder: unknown;
}

/** @throws {SyntaxError} when `json` is no byte-level BPE tokenizer */
export function parseTokenizerJson(json: unknown): TokenizerJson {
  const fields = record(json, "tokenizer.json");
  const model = record(fields.model, "model");
  if (model.type !== undefined && model.type !== "BPE") {
    throw new SyntaxError(
      `Cannot load tokenizer: model.type must be "BPE", received ${JSON.stringify(model.type)}`,
    );
  }
  record(model.vocab, "model.vocab");
  if (!Array.isArray(model.merges)) {
    throw new SyntaxError("Cannot load tokenizer: model.merges must be a list");
  }
  if (!mentions(fields.decoder, "ByteLevel")) {
    throw new SyntaxError(
      "Cannot load tokenizer: its decoder must be ByteLevel, other kinds are not supported",
    );
  }
  const parsed = { post_processor: null, normalizer: null, added_tokens: [], ...fields };
  if (!Array.isArray(parsed.added_tokens)) {
    throw new SyntaxError("Cannot load tokenizer: added_tokens must be a list");
  }
  for (const token of parsed.added_tokens) {
    if (typeof record(token, "each of added_tokens").content === "string") continue;
    throw new SyntaxError("Cannot load tokenizer: each of added_tokens must have its content, a string");
  }
  return parsed as unknown as TokenizerJson;
}

/**
 * The same tokenizer for @huggingface/tokenizers, without `control` tokens, which `tokenizer.ts` splits off itself:
 * - `Digits` splits any Unicode number in Rust, but only decimal digits here: written as a `Split` on \p{N}.
 * - A byte-level vocabulary has no unknown text; without `unk_token` none can turn into a control token.
 */
export function mendTokenizerJson(json: TokenizerJson, control: ReadonlySet<string>): object {
  return {
    ...json,
    added_tokens: json.added_tokens.filter(({ content }) => !control.has(content)),
    pre_tokenizer: splitUnicodeNumbers(json.pre_tokenizer),
    model: { ...json.model, unk_token: null },
  };
}

/** The bytes of each id; ids that no token maps to are holes. */
export function tokenByteTable(json: TokenizerJson): (Uint8Array | undefined)[] {
  const alphabet = byteLevelAlphabet();
  const encoder = new TextEncoder();
  const added = new Set(json.added_tokens.map(({ content }) => content));
  const table: (Uint8Array | undefined)[] = [];
  for (const [token, id] of Object.entries(json.model.vocab)) {
    checkId(id, token);
    if (!added.has(token)) table[id] = byteLevelBytes(token, alphabet);
  }
  for (const { id, content } of json.added_tokens) {
    checkId(id, content);
    table[id] = encoder.encode(content);
  }
  return table;
}

function splitUnicodeNumbers(preTokenizer: unknown): unknown {
  if (typeof preTokenizer !== "object" || preTokenizer === null) return preTokenizer;
  const fields = preTokenizer as Record<string, unknown>;
  if (Array.isArray(fields.pretokenizers)) {
    return { ...fields, pretokenizers: fields.pretokenizers.map(splitUnicodeNumbers) };
  }
  if (fields.type !== "Digits") return preTokenizer;
  const Regex = fields.individual_digits ? "\\p{N}" : "\\p{N}+";
  return { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false };
}

/** Whether a decoder, or one of its sequence, is of `type`. */
function mentions(decoder: unknown, type: string): boolean {
  if (typeof decoder !== "object" || decoder === null) return false;
  const fields = decoder as Record<string, unknown>;
  if (Array.isArray(fields.decoders)) return fields.decoders.some((inner) => mentions(inner, type));
  return fields.type === type;
}

function record(value: unknown, name: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new SyntaxError(`Cannot load tokenizer: ${name} must be an object`);
}

/** Far above any vocabulary: an id past it would make a table as large as the id says. */
const MAX_ID = 1 << 22;

function checkId(id: unknown, token: string) {
  if (Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < MAX_ID) return;
  throw new SyntaxError(
    `Cannot load tokenizer: the id of ${JSON.stringify(token)} must be a small whole number`,
  );
}
