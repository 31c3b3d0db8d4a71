// A byte-level tokenizer.json built here: StarCoder's 19 special tokens, the 256 bytes, and a few merges.
import { byteLevelAlphabet } from "../../engine/token_bytes.ts";

const STARCODER_SPECIALS =
  "<|endoftext|> <fim_prefix> <fim_middle> <fim_suffix> <fim_pad> <filename> <gh_stars> <issue_start> <issue_comment> <issue_closed> <jupyter_start> <jupyter_text> <jupyter_code> <jupyter_output> <empty_output> <commit_before> <commit_msg> <commit_after> <reponame>"
    .split(" ");

/** Pairs merged in this order, in the byte-level alphabet (Ġ is a space, Ċ a line break). */
const MERGES = ["Ġ Ġ", "ĠĠ ĠĠ", "d e", "de f", "Ġ x", "r e", "re t", "Ċ ĠĠĠĠ"];

/** `specials` take the ids from 0, the bytes follow in order, then the merges. */
export function tinyTokenizerJson(specials: readonly string[] = STARCODER_SPECIALS): object {
  const vocab: Record<string, number> = {};
  for (const token of specials) vocab[token] = Object.keys(vocab).length;
  for (const character of byteLevelAlphabet().keys()) vocab[character] = Object.keys(vocab).length;
  for (const merge of MERGES) vocab[merge.replace(" ", "")] = Object.keys(vocab).length;
  return {
    version: "1.0",
    added_tokens: specials.map((content, id) => ({
      id,
      content,
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Digits", individual_digits: true },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE", dropout: null, unk_token: null, vocab, merges: MERGES },
  };
}

/** The id of a byte in `tinyTokenizerJson()`. */
export function byteId(byte: number): number {
  return STARCODER_SPECIALS.length + byte;
}

/** One id for each byte of `text`, without merges. */
export function byteIds(text: string): number[] {
  return Array.from(new TextEncoder().encode(text), byteId);
}
