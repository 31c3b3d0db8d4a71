// Tokens and scores on their way back to the host: a staging buffer for each step that may be under way, read one after
// the other.
import type { GpuDevice } from "../device/gpu_device.ts";
import { Readback, readsBlock } from "../device/readback.ts";
import type { StepShape } from "./control.ts";
import { readScores, SCORE_WORDS } from "./sampling/scores.ts";
import type { SampleRequest, StepResult } from "./step.ts";

export interface ResultBuffers {
  /** u32 [maxSamples] */
  readonly tokens: GPUBuffer;
  /** [maxSamples][SCORE_WORDS] */
  readonly scores: GPUBuffer;
}

/** The results of a step that is submitted, to be read once. */
export interface PendingResults {
  readonly shape: StepShape;
  readonly readback: Readback;
  readonly bytes: number;
}

export class ResultReader implements Disposable {
  readonly #buffers: ResultBuffers;
  readonly #maxSamples: number;
  /** Used by turns. */
  readonly #readbacks: readonly Readback[];
  #numEncoded = 0;
  #numRead = 0;
  /** When the step before is read. */
  #lastRead: Promise<unknown> = Promise.resolve();

  constructor(gpu: GpuDevice, buffers: ResultBuffers, maxSamples: number) {
    this.#buffers = buffers;
    this.#maxSamples = maxSamples;
    const bytes = maxSamples * (1 + SCORE_WORDS) * 4;
    this.#readbacks = Array.from({ length: readsBlock(gpu.caps) ? 1 : 2 }, () => new Readback(gpu, bytes));
  }

  /** How many steps may be under way: see `ModelRunner`. */
  get stepsInFlight(): number {
    return this.#readbacks.length;
  }

  /** Steps that were encoded and are not read. */
  get numUnread(): number {
    return this.#numEncoded - this.#numRead;
  }

  /** Token ids first, then (where asked for) the score records of all samples. Always some bytes, to wait on. */
  encode(encoder: GPUCommandEncoder, shape: StepShape): PendingResults {
    const readback = this.#readbacks[this.#numEncoded++ % this.#readbacks.length];
    const tokenBytes = Math.max(1, shape.numSamples) * 4, firstScore = this.#maxSamples * 4;
    readback.encodeCopy(encoder, this.#buffers.tokens, tokenBytes);
    if (!shape.wantsScores) return { shape, readback, bytes: tokenBytes };
    const scoreBytes = shape.numSamples * SCORE_WORDS * 4;
    readback.encodeCopy(encoder, this.#buffers.scores, scoreBytes, firstScore);
    return { shape, readback, bytes: firstScore + scoreBytes };
  }

  /**
   * Waits for a step, and only when the one before it is read: so the wait takes as long as a step does.
   * @throws {DeviceLostError} when the GPU went away
   */
  async read(
    { shape, readback, bytes }: PendingResults,
    samples: readonly SampleRequest[],
  ): Promise<Pick<StepResult, "tokenIds" | "scores">> {
    const read = this.#lastRead.then(() => readback.read(bytes, kindOf(shape))).finally(() =>
      this.#numRead++
    );
    this.#lastRead = read.catch(() => {});
    const words = new Uint32Array(await read);
    return {
      tokenIds: words.slice(0, shape.numSamples),
      scores: samples.map((sample, i) => readScores(words, this.#maxSamples, i, sample)),
    };
  }

  [Symbol.dispose](): void {
    for (const readback of this.#readbacks) readback[Symbol.dispose]();
  }
}

/** Steps of one kind take about the same time: sizes to the power of two. */
function kindOf({ numTokens, numSequences, maxContextLength }: StepShape): string {
  return [numTokens, numSequences, maxContextLength].map((n) => Math.ceil(Math.log2(n + 1))).join();
}
