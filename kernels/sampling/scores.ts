// The score record that the sampling kernels write per sample and the host decodes.
import { MAX_TOP_LOGPROBS, type SampleRequest, type TokenScore } from "../step.ts";

/** Words per record: log-probability of the token (f32 bits), then pairs of token id and log-probability, best first. */
export const SCORE_WORDS = 1 + 2 * MAX_TOP_LOGPROBS;

/** In place of an id where the vocabulary has no further token. */
const NO_ID = 0xffffffff;

/**
 * Decodes sample `index` from the words read back, where the records start at word `offset`; undefined when the sample
 * asked for none. Fewer alternatives than asked for come back where the vocabulary is smaller.
 */
export function readScores(
  words: Uint32Array<ArrayBuffer>,
  offset: number,
  index: number,
  sample: SampleRequest,
): TokenScore | undefined {
  if (sample.topLogprobs < 0) return undefined;
  const at = offset + index * SCORE_WORDS;
  const floats = new Float32Array(words.buffer, words.byteOffset);
  const top = Array.from({ length: Math.min(sample.topLogprobs, MAX_TOP_LOGPROBS) }, (_, i) => ({
    id: words[at + 1 + 2 * i],
    logprob: floats[at + 2 + 2 * i],
  }));
  return { logprob: floats[at], top: top.filter(({ id }) => id !== NO_ID) };
}
