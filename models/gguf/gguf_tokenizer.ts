// The tokenizer of a GGUF file as the tokenizer.json that it was converted from: byte-level BPE, whose tokens and merges
// the file lists. How text is split beforehand it only names.
import { z } from "zod";
import { parseConfig } from "../config.ts";
import type { GgufHeader } from "./gguf_header.ts";

/** Types of tokens, llama.cpp's `llama_token_type`. */
const CONTROL = 3, USER_DEFINED = 4, UNUSED = 5;

const schema = z.looseObject({
  "tokenizer.ggml.model": z.literal("gpt2", 'must be "gpt2", a byte-level BPE'),
  "tokenizer.ggml.pre": z.string().optional(),
  "tokenizer.ggml.tokens": z.array(z.string()),
  "tokenizer.ggml.token_type": z.array(z.number()).optional(),
  "tokenizer.ggml.merges": z.array(z.string()).default([]),
  "tokenizer.ggml.eos_token_id": z.union([z.number(), z.bigint()]).optional(),
});

interface Splitting {
  readonly normalizer: unknown;
  readonly pre_tokenizer: unknown;
}

function byteLevel(useRegex: boolean) {
  return { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: useRegex };
}

/** Single digits, then GPT-2's words. */
const STARCODER: Splitting = {
  normalizer: null,
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel(true)],
  },
};
const GPT2: Splitting = { normalizer: null, pre_tokenizer: byteLevel(true) };
const QWEN2: Splitting = {
  normalizer: { type: "NFC" },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [
      {
        type: "Split",
        pattern: {
          Regex:
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
        },
        behavior: "Isolated",
        invert: false,
      },
      byteLevel(false),
    ],
  },
};

/** By `tokenizer.ggml.pre`. */
const SPLITTINGS: Readonly<Record<string, Splitting>> = {
  starcoder: STARCODER,
  refact: STARCODER,
  "command-r": STARCODER,
  smollm: STARCODER,
  qwen2: QWEN2,
  "gpt-2": GPT2,
};
/** By architecture, for files of the time before there was that field. */
const DEFAULTS: Readonly<Record<string, string>> = {
  starcoder: "starcoder",
  starcoder2: "starcoder",
  qwen2: "qwen2",
};

export interface GgufTokenizer {
  readonly tokenizerJson: unknown;
  readonly tokenizerConfig: unknown;
  readonly eosTokenId: number | undefined;
}

/** @throws {TypeError} naming the field of the metadata that is at fault */
export function ggufTokenizer({ metadata }: GgufHeader, file: string): GgufTokenizer {
  const fields = parseConfig(schema, withoutNull(metadata), file);
  const tokens = fields["tokenizer.ggml.tokens"], types = fields["tokenizer.ggml.token_type"] ?? [];
  const given = fields["tokenizer.ggml.pre"] ?? "default";
  const name = given === "default" ? DEFAULTS[String(metadata["general.architecture"])] ?? "gpt-2" : given;
  const splitting = Object.hasOwn(SPLITTINGS, name) ? SPLITTINGS[name] : undefined;
  if (!splitting) {
    throw new TypeError(
      `Cannot load model: ${file}: "tokenizer.ggml.pre": must be one of ${
        Object.keys(SPLITTINGS).join(", ")
      }, received "${given}"`,
    );
  }
  const isAdded = (id: number) => types[id] === CONTROL || types[id] === USER_DEFINED;
  const vocab: Record<string, number> = Object.create(null);
  tokens.forEach((token, id) => {
    if (types[id] !== UNUSED && !isAdded(id)) vocab[token] = id;
  });
  const added = tokens.flatMap((content, id) =>
    isAdded(id) ? [addedToken(id, content, types[id] === CONTROL)] : []
  );
  const eos = fields["tokenizer.ggml.eos_token_id"];
  return {
    tokenizerJson: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: added,
      ...splitting,
      post_processor: null,
      decoder: byteLevel(true),
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab,
        merges: fields["tokenizer.ggml.merges"],
      },
    },
    tokenizerConfig: eos === undefined ? {} : { eos_token: tokens[Number(eos)] },
    eosTokenId: eos === undefined ? undefined : Number(eos),
  };
}

function addedToken(id: number, content: string, special: boolean) {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special };
}

/** The library gives an empty list as null. */
function withoutNull(metadata: GgufHeader["metadata"]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, value ?? undefined]));
}
