// Which fill-in-the-middle tokens a vocabulary has, and the prompt layouts that models were trained on. Cutting a
// prompt to the context is `infill_prompt.ts`.
import { FIM_SPELLINGS, SEPARATOR_TOKENS, tokenNames } from "./control_tokens.ts";
import type { ModelInfo } from "./engine.ts";
import type { FimLayout } from "./request.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Spellings of a model whose tokens are not known by name. */
export interface FimTokenNames {
  readonly prefix: string;
  readonly middle: string;
  readonly suffix: string;
  readonly pad?: string;
}

export interface FimTokens {
  readonly prefix: number;
  readonly middle: number;
  readonly suffix: number;
  readonly pad?: number;
}

/**
 * How other files stand in a prompt.
 * - inside: `<filename>PATH\n` + text, all within the prefix (StarCoder).
 * - outside: `<file_sep>PATH\n` + text before the fill-in-the-middle tokens, which stand within the last file (StarCoder2).
 * - plain: separated by text alone, within the prefix.
 */
export type FileForm =
  | { readonly kind: "inside"; readonly separator: number }
  | { readonly kind: "outside"; readonly separator: number }
  | { readonly kind: "plain" };

export interface FimSupport {
  /** Undefined when a needed token is missing. */
  readonly tokens: FimTokens | undefined;
  /** Of "prefix", "suffix" and "middle". */
  readonly missing: readonly string[];
  /** Layouts to choose among, the preferred one first. */
  readonly layouts: readonly FimLayout[];
  readonly fileForm: FileForm;
}

/** Of a model that nothing is known about. */
const USUAL_LAYOUTS: readonly FimLayout[] = ["psm"];

/**
 * Looks the tokens up by spelling: the override, or the first known spelling that is complete, or else the one that
 * lacks least.
 * @throws {RangeError} when an override names no token of the vocabulary
 */
export function detectFim(tokenizer: Tokenizer, overrides?: FimTokenNames): FimSupport {
  const fileForm = detectFileForm(tokenizer);
  if (overrides) {
    return {
      tokens: overriddenTokens(tokenizer, overrides),
      missing: [],
      layouts: USUAL_LAYOUTS,
      fileForm,
    };
  }
  const found = FIM_SPELLINGS.map((spelling) => {
    const missing = (["prefix", "suffix", "middle"] as const)
      .filter((role) => tokenizer.idOf(spelling[role]) === undefined);
    return { spelling, missing };
  });
  const best = found.reduce((a, b) => b.missing.length < a.missing.length ? b : a);
  const { layouts } = best.spelling;
  if (best.missing.length > 0) return { tokens: undefined, missing: best.missing, layouts, fileForm };
  return {
    tokens: overriddenTokens(tokenizer, withoutUnknownPad(tokenizer, best.spelling)),
    missing: [],
    layouts,
    fileForm,
  };
}

/** What clients may know of it. */
export function describeFim(tokenizer: Tokenizer, { tokens, missing }: FimSupport): ModelInfo["fim"] {
  const spelled = (id: number) => tokenizer.decode([id]);
  return {
    supported: tokens !== undefined,
    missing,
    ...(tokens && {
      spelling: {
        prefix: spelled(tokens.prefix),
        suffix: spelled(tokens.suffix),
        middle: spelled(tokens.middle),
      },
    }),
  };
}

/** A trained layout around the encoded parts: neither llama.cpp's suffix-first form nor any other is of use here. */
export function layOut(
  tokens: FimTokens,
  layout: FimLayout,
  parts: { readonly prefix: readonly number[]; readonly suffix: readonly number[] },
): number[] {
  const { prefix, suffix } = parts;
  return layout === "psm"
    ? [tokens.prefix, ...prefix, tokens.suffix, ...suffix, tokens.middle]
    : [tokens.prefix, tokens.suffix, ...suffix, tokens.middle, ...prefix];
}

/** Of a laid-out prompt's ids those that another suffix leaves as they are, or all where it leaves nothing. */
export function steadyPart(
  tokens: FimTokens,
  layout: FimLayout,
  ids: readonly number[],
): readonly number[] {
  return layout === "psm" ? ids.slice(0, Math.max(0, ids.lastIndexOf(tokens.suffix))) : ids;
}

/** Ids that end a generation, whatever the model: end of text, fill-in-the-middle tokens, separators. */
export function endTokenIds(
  tokenizer: Tokenizer,
  eosTokenId: number,
  tokens: FimTokens | undefined,
): Set<number> {
  const ids = new Set<number>(tokens ? Object.values(tokens) : []);
  for (const spelling of FIM_SPELLINGS) {
    for (const name of tokenNames(spelling)) addKnown(ids, tokenizer.idOf(name));
  }
  for (const name of SEPARATOR_TOKENS) addKnown(ids, tokenizer.idOf(name));
  if (tokenizer.has(eosTokenId)) ids.add(eosTokenId);
  return ids;
}

function addKnown(ids: Set<number>, id: number | undefined) {
  if (id !== undefined) ids.add(id);
}

function withoutUnknownPad(tokenizer: Tokenizer, spelling: FimTokenNames): FimTokenNames {
  const { prefix, middle, suffix, pad } = spelling;
  return pad !== undefined && tokenizer.idOf(pad) !== undefined
    ? { prefix, middle, suffix, pad }
    : { prefix, middle, suffix };
}

function overriddenTokens(tokenizer: Tokenizer, spelling: FimTokenNames): FimTokens {
  const { prefix, middle, suffix, pad } = spelling;
  const tokens = {
    prefix: requireId(tokenizer, prefix),
    middle: requireId(tokenizer, middle),
    suffix: requireId(tokenizer, suffix),
  };
  return pad === undefined ? tokens : { ...tokens, pad: requireId(tokenizer, pad) };
}

function requireId(tokenizer: Tokenizer, token: string): number {
  const id = tokenizer.idOf(token);
  if (id === undefined) {
    throw new RangeError(`Cannot use ${JSON.stringify(token)} for infill: the vocabulary has no such token`);
  }
  return id;
}

function detectFileForm(tokenizer: Tokenizer): FileForm {
  for (const name of ["<file_sep>", "<|file_sep|>"]) {
    const separator = tokenizer.idOf(name);
    if (separator !== undefined) return { kind: "outside", separator };
  }
  const separator = tokenizer.idOf("<filename>");
  return separator === undefined ? { kind: "plain" } : { kind: "inside", separator };
}
