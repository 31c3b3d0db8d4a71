// Which token ids a model must never draw. The backends mask them before they choose.

/**
 * Ids that the checkpoint suppresses, and rows of the head that no token maps to (SantaCoder's vocabulary is padded to a
 * multiple of 128 with rows that were never trained), in ascending order. Ids outside the vocabulary are dropped.
 * @param tokenizerJson tokenizer.json as parsed; one without a readable vocabulary adds nothing
 * @param vocabSize rows of the head
 * @param listed `suppress_tokens` of generation_config.json
 */
export function suppressedTokens(
  tokenizerJson: unknown,
  vocabSize: number,
  listed: readonly number[],
): number[] {
  const ids = new Set(listed.filter((id) => id < vocabSize));
  const known = tokenIds(tokenizerJson);
  if (known.size > 0) {
    for (let id = 0; id < vocabSize; id++) if (!known.has(id)) ids.add(id);
  }
  return [...ids].sort((a, b) => a - b);
}

function tokenIds(tokenizerJson: unknown): Set<unknown> {
  const { model, added_tokens } = (tokenizerJson ?? {}) as {
    model?: { vocab?: unknown };
    added_tokens?: unknown;
  };
  const vocab = typeof model?.vocab === "object" && model.vocab !== null ? Object.values(model.vocab) : [];
  const added = Array.isArray(added_tokens) ? added_tokens.map((token: { id?: unknown }) => token?.id) : [];
  return new Set([...vocab, ...added]);
}
