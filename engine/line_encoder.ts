// Encodes text line by line and remembers the lines: between two keys of an editor only one of some hundreds differs.
// Pure but for that memory, which is bounded.

/** Lines remembered, at most twice as many: what some fifty editors show around their cursors. */
const MAX_LINES = 16_384;
/** Longer ones are not worth their place. */
const MAX_LINE_UNITS = 1024;

/** Before every line break that follows anything but white space. */
const SEAM = /(?<=\S)(?=\n)/;

export class LineEncoder {
  readonly #encode: (text: string) => number[];
  /** Two generations: what was not used while the younger one filled up is forgotten. */
  #young = new Map<string, readonly number[]>();
  #old = new Map<string, readonly number[]>();

  /** @param encode whose result for a text is the results for its parts, cut at the seams, one after the other */
  constructor(encode: (text: string) => number[]) {
    this.#encode = encode;
  }

  encode(text: string): number[] {
    const ids: number[] = [];
    for (const line of text.split(SEAM)) for (const id of this.#line(line)) ids.push(id);
    return ids;
  }

  #line(line: string): readonly number[] {
    const young = this.#young.get(line);
    if (young) return young;
    const ids = this.#old.get(line) ?? this.#encode(line);
    if (line.length <= MAX_LINE_UNITS) this.#remember(line, ids);
    return ids;
  }

  #remember(line: string, ids: readonly number[]) {
    if (this.#young.size >= MAX_LINES) [this.#old, this.#young] = [this.#young, new Map()];
    this.#young.set(line, ids);
  }
}

/** The words of training/train_tokenizer.py. */
const TRAINED_WORDS = String.raw` ?\p{L}+|[^\s\p{L}\p{N}]\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/**
 * Whether a tokenizer.json encodes the parts between the seams apart: GPT-2's pattern, which all of StarCoder's family
 * have, and that of our own tokenizers end a piece before any white space that follows other characters, and look no
 * further back.
 */
export function encodesLinesApart(
  json: { readonly normalizer?: unknown; readonly pre_tokenizer?: unknown },
): boolean {
  if (json.normalizer) return false;
  const steps = stepsOf(json.pre_tokenizer), last = steps.at(-1), before = steps.slice(0, -1);
  if (last?.type !== "ByteLevel" || last.add_prefix_space) return false;
  return last.use_regex === false
    ? before.length === 1 && splitsTrainedWords(before[0])
    : before.every(({ type }) => type === "Digits");
}

function splitsTrainedWords({ type, pattern, behavior, invert }: Record<string, unknown>): boolean {
  const regex = (pattern as { readonly Regex?: unknown } | undefined)?.Regex;
  return type === "Split" && behavior === "Isolated" && invert === false && regex === TRAINED_WORDS;
}

function stepsOf(preTokenizer: unknown): Record<string, unknown>[] {
  if (typeof preTokenizer !== "object" || preTokenizer === null) return [];
  const fields = preTokenizer as Record<string, unknown>;
  return Array.isArray(fields.pretokenizers) ? fields.pretokenizers.flatMap(stepsOf) : [fields];
}
