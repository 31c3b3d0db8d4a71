// Requests and logits for the sampling tests. Knows no device, so that the host's sampler and every GPU run the same.
import { hasToken, maskOf } from "../../kernels/sampling/token_mask.ts";
import type { SampleRequest, SamplingParams } from "../../kernels/step.ts";
import type { Random } from "./random.ts";

export const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] };

/** Ways of truncating, of which each keeps something else. */
export const TRUNCATIONS: readonly Partial<SamplingParams>[] = [
  { temperature: 1 },
  { temperature: 0.7, topK: 1 },
  { temperature: 1.3, topK: 3 },
  { temperature: 1, topK: 40 },
  { temperature: 0.8, topP: 0.9 },
  { temperature: 1.5, topP: 0.35 },
  { temperature: 1, topP: 0 },
  { temperature: 1, minP: 0.05 },
  { temperature: 0.5, topK: 25, minP: 0.01, topP: 0.8 },
  { temperature: 2, topK: 7, topP: 0.99 },
  { temperature: 1e-4 },
];

export const VOCAB_SIZES = [11, 257, 16384, 49153];

export function request(params: Partial<SamplingParams>, rest: Partial<SampleRequest> = {}): SampleRequest {
  return { row: 0, params: { ...GREEDY, ...params }, counter: 0, topLogprobs: -1, ...rest };
}

/** Logits of a random spread; some of them equal, so that there are ties to break. */
export function randomLogits(random: Random, vocabSize: number): Float32Array<ArrayBuffer> {
  const logits = random.normals(vocabSize, random.normal(0, 5), 1 + 3 * random.uniform());
  for (let i = 0; i < vocabSize / 8; i++) logits[random.below(vocabSize)] = logits[random.below(vocabSize)];
  return logits;
}

/** A mask of about the given share of the ids, of those outside `suppressed` at least one. */
export function randomMask(
  random: Random,
  vocabSize: number,
  share: number,
  suppressed: readonly number[],
): Uint32Array<ArrayBuffer> {
  const choosable = Array.from({ length: vocabSize }, (_, id) => id).filter((id) => !suppressed.includes(id));
  const ids = choosable.filter(() => random.uniform() < share);
  return maskOf([...ids, choosable[random.below(choosable.length)], suppressed[0] ?? 0], vocabSize);
}

/** Ids that a sample may not choose, by its mask or because all are suppressed alike. */
export function forbiddenIds(
  { allowed }: SampleRequest,
  vocabSize: number,
  suppressed: readonly number[],
): Set<number> {
  const ids = Array.from({ length: vocabSize }, (_, id) => id);
  return new Set([...suppressed, ...allowed ? ids.filter((id) => !hasToken(allowed, id)) : []]);
}

export function randomSeed(random: Random): readonly [number, number] {
  return [random.word(), random.word()];
}
