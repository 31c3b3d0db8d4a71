// From a request's sampling wishes to what a step is told: parameters and seed of each sample, and what is added to
// single logits before a draw. Pure.
import type { SamplingParams } from "../kernels/step.ts";
import type { GenerationRequest } from "./request.ts";
import type { LogitAdjustment } from "./sequence.ts";

/** Far below any logit, and finite, so that no kernel meets an infinity. */
const BAN = -1e9;

/** Defaults are OpenAI's: temperature 1, nothing truncated. A random seed is drawn by the caller, once a request. */
export function samplingParams(request: GenerationRequest, seed: bigint, sample: number): SamplingParams {
  return {
    temperature: request.temperature ?? 1,
    topK: request.topK ?? 0,
    topP: request.topP ?? 1,
    minP: request.minP ?? 0,
    seed: seedWords(seed + BigInt(sample)),
  };
}

/** The low and the high word of a 64-bit seed, in two's complement. */
function seedWords(seed: bigint): [number, number] {
  const bits = BigInt.asUintN(64, seed);
  return [Number(bits & 0xffffffffn), Number(bits >> 32n)];
}

export function randomSeed(): bigint {
  return crypto.getRandomValues(new BigUint64Array(1))[0];
}

function asAdjustments(deltas: ReadonlyMap<number, number>): LogitAdjustment[] {
  return Array.from(deltas, ([id, delta]) => ({ id, delta }));
}

/**
 * Adjusts the logits of one sample: the request's biases, and penalties for the tokens generated so far
 * (the prompt's are not penalised), as OpenAI defines them: logit - presence - count * frequency.
 */
export class LogitAdjuster {
  readonly #fixed: ReadonlyMap<number, number>;
  /** The same, while nothing is counted. */
  readonly #fixedAlone: readonly LogitAdjustment[];
  readonly #presence: number;
  readonly #frequency: number;
  readonly #counts = new Map<number, number>();

  constructor(request: GenerationRequest) {
    const fixed = new Map<number, number>();
    for (const { id, delta } of request.logitBias ?? []) {
      fixed.set(id, Math.max(BAN, (fixed.get(id) ?? 0) + delta));
    }
    this.#fixed = fixed;
    this.#fixedAlone = asAdjustments(fixed);
    this.#presence = request.presencePenalty ?? 0;
    this.#frequency = request.frequencyPenalty ?? 0;
  }

  /** Counts a generated token. */
  count(id: number) {
    if (this.#presence === 0 && this.#frequency === 0) return;
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
  }

  /**
   * One entry per id; of more than `most`, those that change most.
   * @param drafted tokens that are supposed to follow those counted
   */
  adjustments(most: number, drafted: readonly number[] = []): readonly LogitAdjustment[] {
    const all = this.#all(drafted);
    if (all.length <= most) return all;
    return all.toSorted((a, b) => Math.abs(b.delta) - Math.abs(a.delta)).slice(0, most);
  }

  #all(drafted: readonly number[]): readonly LogitAdjustment[] {
    if (this.#presence === 0 && this.#frequency === 0) return this.#fixedAlone;
    const deltas = new Map(this.#fixed);
    for (const [id, count] of this.#countsWith(drafted)) {
      deltas.set(id, (deltas.get(id) ?? 0) - this.#presence - count * this.#frequency);
    }
    return asAdjustments(deltas);
  }

  #countsWith(drafted: readonly number[]): ReadonlyMap<number, number> {
    if (drafted.length === 0 || this.#presence === 0 && this.#frequency === 0) return this.#counts;
    const counts = new Map(this.#counts);
    for (const id of drafted) counts.set(id, (counts.get(id) ?? 0) + 1);
    return counts;
  }
}
