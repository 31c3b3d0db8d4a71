// Choosing a token on the host: what the sampling kernels do on the GPU, for the CPU backend, and the yardstick of those
// kernels. Like them it decides on integers: logits become u32 keys of the same order, thresholds are found digit by
// digit, probabilities are in units of 2^-31. Nothing is sorted.
import type { SampleRequest, SamplingParams, TokenScore } from "../step.ts";
import { mulHigh, randomWord } from "./philox.ts";
import { hasToken } from "./token_mask.ts";

/** Probability 1. */
const WHOLE = 2 ** 31;
/** The largest finite f32, and its bits. */
const MAX_F32 = 3.4028234663852886e38;
const LARGEST_FINITE = 0x7f7fffff;

/**
 * Chooses one token: the request's target; else, among those of its mask, the largest logit (lowest id of equals) at temperature 0; else a draw
 * after temperature, top-k, min-p and top-p. `score` is set where the request asks for log-probabilities; they are of
 * the logits with adjustments, before temperature, and include ids that may not be chosen. NaN is never chosen; when there is
 * nothing to choose from, the id is 0.
 *
 * @param logits f32 [vocabSize]; the request's adjustments are added in place
 * @param suppressed ids that are never chosen, unless as a target
 */
export function sampleLogits(
  logits: Float32Array,
  request: SampleRequest,
  suppressed: ReadonlySet<number>,
): { id: number; score?: TokenScore } {
  adjust(logits, request);
  const { params, topLogprobs, target, allowed } = request;
  if (target === undefined && topLogprobs < 0 && params.temperature === 0) {
    return {
      id: allowed
        ? indexOfLargestAllowed(logits, allowed, suppressed)
        : indexOfLargestLogit(logits, suppressed),
    };
  }
  const keys = keysOf(logits);
  const scoring = request.topLogprobs >= 0;
  const candidates = scoring && (suppressed.size > 0 || allowed) ? keys.slice() : keys;
  for (const id of suppressed) if (id < candidates.length) candidates[id] = 0;
  if (allowed) { for (let id = 0; id < keys.length; id++) if (!hasToken(allowed, id)) candidates[id] = 0; }
  const id = request.target ?? choose(candidates, request);
  return scoring ? { id, score: scoreToken(keys, id, request.topLogprobs) } : { id };
}

function adjust(logits: Float32Array, { adjustments = [] }: SampleRequest): void {
  for (const { id, delta } of adjustments) if (id < logits.length) logits[id] += delta;
}

function choose(keys: Uint32Array, { params, counter }: SampleRequest): number {
  return params.temperature > 0 ? draw(keys, params, counter) : indexOfLargest(keys);
}

/** Keys of the same order as the logits: 0 for NaN, infinities as the largest finite numbers. */
function keysOf(logits: Float32Array): Uint32Array {
  const bits = new Uint32Array(logits.buffer, logits.byteOffset, logits.length);
  const keys = new Uint32Array(logits.length);
  for (let i = 0; i < keys.length; i++) {
    const word = bits[i];
    let magnitude = word & 0x7fffffff;
    if (magnitude > LARGEST_FINITE) {
      if (magnitude > 0x7f800000) continue;
      magnitude = LARGEST_FINITE;
    }
    keys[i] = word >= 0x80000000 && magnitude !== 0 ? ~magnitude & 0x7fffffff : magnitude | 0x80000000;
  }
  return keys;
}

/** The logits that keys were made from; the least finite number for NaN. */
function valuesOf(keys: Uint32Array): Float32Array {
  const bits = new Uint32Array(keys.length);
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    bits[i] = key >= 0x80000000 ? key & 0x7fffffff : ~Math.max(key, 0x7fffffff - LARGEST_FINITE);
  }
  return new Float32Array(bits.buffer);
}

function indexOfLargest(keys: Uint32Array): number {
  let largest = 0, index = 0;
  for (let i = 0; i < keys.length; i++) {
    if (keys[i] > largest) {
      largest = keys[i];
      index = i;
    }
  }
  return index;
}

/** What `indexOfLargest` finds among the logits' keys, without making keys: the way of most tokens. */
function indexOfLargestLogit(logits: Float32Array, suppressed: ReadonlySet<number>): number {
  let largest = -Infinity, index = 0, start = 0;
  for (const end of [...suppressed].sort((a, b) => a - b).concat(logits.length)) {
    for (let i = start; i < Math.min(end, logits.length); i++) {
      // Infinities count as the largest finite numbers; NaN fails the comparison.
      const logit = Math.min(MAX_F32, Math.max(-MAX_F32, logits[i]));
      if (logit > largest) {
        largest = logit;
        index = i;
      }
    }
    start = end + 1;
  }
  return index;
}

/** The same among the ids of a mask: most masks have few, and words without any are passed over. */
function indexOfLargestAllowed(
  logits: Float32Array,
  allowed: Uint32Array,
  suppressed: ReadonlySet<number>,
): number {
  let largest = -Infinity, index = 0;
  for (let word = 0; word < allowed.length; word++) {
    for (let bits = allowed[word]; bits !== 0; bits &= bits - 1) {
      const id = 32 * word + 31 - Math.clz32(bits & -bits);
      const logit = Math.min(MAX_F32, Math.max(-MAX_F32, logits[id]));
      if (!(logit > largest) || suppressed.has(id)) continue;
      largest = logit;
      index = id;
    }
  }
  return index;
}

/** Tokens in the running, in the order of their ids. */
interface Candidates {
  readonly ids: Uint32Array;
  readonly keys: Uint32Array;
  /** Probabilities in units of 2^-31, none of them 0. */
  readonly units: Uint32Array;
}

function draw(keys: Uint32Array, params: SamplingParams, counter: number): number {
  const lowest = params.topK > 0 && params.topK < keys.length ? kthKey(keys, params.topK) : 1;
  const kept = candidatesFrom(keys, lowest, params);
  const threshold = params.topP < 1 ? nucleusKey(kept, params.topP) : lowest;
  let total = 0;
  for (let i = 0; i < kept.ids.length; i++) if (kept.keys[i] >= threshold) total += kept.units[i];
  let wanted = mulHigh(randomWord(params.seed, counter), total) + 1;
  for (let i = 0; i < kept.ids.length; i++) {
    if (kept.keys[i] < threshold) continue;
    wanted -= kept.units[i];
    if (wanted <= 0) return kept.ids[i];
  }
  return 0;
}

/** The tokens with keys from `lowest` on that pass min-p, but for those too unlikely to hold a unit. */
function candidatesFrom(
  keys: Uint32Array,
  lowest: number,
  { temperature, minP }: SamplingParams,
): Candidates {
  const values = valuesOf(keys);
  const most = values[indexOfLargest(keys)];
  const sharpness = 1 / temperature;
  // Lighter tokens come to less than half a unit.
  const furthest = -33 * Math.LN2;
  const weights = new Float64Array(keys.length), ids = new Uint32Array(keys.length);
  let count = 0, total = 0;
  for (let i = 0; i < keys.length; i++) {
    const distance = values[i] === most ? 0 : (values[i] - most) * sharpness;
    if (keys[i] < lowest || distance < furthest) continue;
    const weight = Math.exp(distance);
    if (weight < minP) continue;
    weights[count] = weight;
    ids[count++] = i;
    total += weight;
  }
  return compact(keys, weights, ids, count, WHOLE / total);
}

/** Turns `count` weights into units and leaves out what comes to none. Loops, for typed arrays' own methods are slow. */
function compact(
  keys: Uint32Array,
  weights: Float64Array,
  ids: Uint32Array,
  count: number,
  unitsPerWeight: number,
): Candidates {
  const units = new Uint32Array(count), keptKeys = new Uint32Array(count);
  let kept = 0;
  for (let i = 0; i < count; i++) {
    const unit = Math.floor(weights[i] * unitsPerWeight + 0.5);
    if (unit === 0) continue;
    units[kept] = unit;
    keptKeys[kept] = keys[ids[i]];
    ids[kept++] = ids[i];
  }
  return { ids: ids.subarray(0, kept), keys: keptKeys.subarray(0, kept), units: units.subarray(0, kept) };
}

/** The k-th largest key, or 1 when fewer logits may be chosen. */
function kthKey(keys: Uint32Array, k: number): number {
  return thresholdKey(keys, undefined, () => k);
}

/** The largest key such that it and all above it hold at least `topP` of the units. */
function nucleusKey({ keys, units }: Candidates, topP: number): number {
  return thresholdKey(keys, units, (all) => Math.max(1, Math.ceil(topP * all)));
}

/**
 * The largest key for which the weights (1 each, unless given) of all keys from it on add up to what `wantedOf` makes of
 * the sum of all; 1 when there is none. Found byte by byte in histograms over the keys.
 */
function thresholdKey(
  keys: Uint32Array,
  weights: Uint32Array | undefined,
  wantedOf: (all: number) => number,
): number {
  let prefix = 0, wanted = 0;
  const bins = new Float64Array(256);
  for (let shift = 24; shift >= 0; shift -= 8) {
    bins.fill(0);
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i];
      if (key === 0 || (shift < 24 && (key ^ prefix) >>> (shift + 8) !== 0)) continue;
      bins[key >>> shift & 255] += weights ? weights[i] : 1;
    }
    if (shift === 24) wanted = wantedOf(bins.reduce((a, b) => a + b));
    let bin = 255;
    while (bin >= 0 && wanted > bins[bin]) wanted -= bins[bin--];
    if (bin < 0) return 1;
    prefix = (prefix | bin << shift) >>> 0;
  }
  return prefix;
}

/** Log-softmax at `id` and its `numTop` largest elements (fewer where the vocabulary is smaller), best first. */
function scoreToken(keys: Uint32Array, id: number, numTop: number): TokenScore {
  const values = valuesOf(keys);
  const most = values[indexOfLargest(keys)];
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += Math.exp(values[i] - most);
  const logSum = most + Math.log(sum);
  const logprob = (index: number) => Math.max(values[index] - logSum, -1e30);
  return {
    logprob: logprob(id),
    top: largestIndices(keys, numTop).map((index) => ({ id: index, logprob: logprob(index) })),
  };
}

/** Indices of the `count` largest keys, in order; of equals the lower index comes first. */
function largestIndices(keys: Uint32Array, count: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < keys.length && count > 0; i++) {
    if (best.length === count && keys[i] <= keys[best[count - 1]]) continue;
    let at = best.length;
    while (at > 0 && keys[best[at - 1]] < keys[i]) at--;
    best.splice(at, 0, i);
    if (best.length > count) best.pop();
  }
  return best;
}
