// A model's vocabulary as its files have it: the tokenizer, and which fill-in-the-middle tokens there are.
import type { Checkpoint } from "../models/checkpoint.ts";
import { detectFim, type FimSupport, type FimTokenNames } from "./fim.ts";
import { Tokenizer } from "./tokenizer.ts";

export interface Vocabulary {
  readonly tokenizer: Tokenizer;
  readonly fim: FimSupport;
}

/**
 * @param fimTokens names of the fill-in-the-middle tokens, where they are not to be found
 * @throws {SyntaxError} when the tokenizer is no byte-level BPE
 * @throws {RangeError} when the vocabulary lacks a token that is named
 */
export function openVocabulary(
  { tokenizerJson, tokenizerConfig }: Checkpoint["tokenizer"],
  fimTokens: FimTokenNames | undefined,
): Vocabulary {
  const controlTokens = Object.values(fimTokens ?? {});
  const tokenizer = new Tokenizer(tokenizerJson, tokenizerConfig, { controlTokens });
  return { tokenizer, fim: detectFim(tokenizer, fimTokens) };
}
