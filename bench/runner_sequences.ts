// Drives a ModelRunner without an engine: a fixed batch of equally long sequences, prefilled in chunks as the scheduler
// would, then decoded greedily, as many steps in flight as the runner takes. Knows no clock.
import {
  BLOCK_SIZE,
  drawnBefore,
  type SamplingParams,
  type StepBatch,
  type StepResult,
} from "../kernels/step.ts";
import type { ModelRunner } from "../models/runner.ts";

const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] };

/** Rows of one sequence in a step. */
interface Span {
  readonly sequence: number;
  readonly tokenIds: readonly number[];
  readonly start: number;
  /** Draw the token that follows the span's last row. */
  readonly sample: boolean;
}

export class RunnerSequences {
  readonly #runner: ModelRunner;
  readonly #prompts: readonly (readonly number[])[];
  readonly #blockTables: readonly Uint32Array[];
  #length = 0;
  #next: number[] = [];
  /** The next decode, begun before the tokens are known that it follows. */
  #ahead: Promise<StepResult> | undefined;

  /** @throws {RangeError} when the runner's cache cannot hold the prompts and `numNewTokens` more of each. */
  constructor(runner: ModelRunner, prompts: readonly (readonly number[])[], numNewTokens: number) {
    const numBlocks = Math.ceil((prompts[0].length + numNewTokens) / BLOCK_SIZE);
    const { limits } = runner;
    if (prompts.length > limits.maxSequences || numBlocks * prompts.length > limits.numBlocks) {
      throw new RangeError(
        `Cannot measure ${prompts.length} sequences of ${prompts[0].length} + ${numNewTokens} tokens: ` +
          `the runner holds ${limits.maxSequences} sequences and ${limits.numBlocks} blocks`,
      );
    }
    this.#runner = runner;
    this.#prompts = prompts;
    this.#blockTables = prompts.map((_, i) =>
      Uint32Array.from({ length: numBlocks }, (_, b) => i * numBlocks + b)
    );
  }

  /** The token that follows each sequence, drawn by the last step. */
  get next(): readonly number[] {
    return this.#next;
  }

  /** Computes all prompts from the first token on, in as few steps as the runner's token budget allows. */
  async prefill(): Promise<void> {
    await this.settle();
    this.#next = [];
    for (const spans of prefillSteps(this.#prompts, this.#runner.limits.maxTokens)) {
      const { tokenIds } = await this.#step(spans);
      this.#next.push(...tokenIds);
    }
    this.#length = this.#prompts[0].length;
  }

  /** One token more for every sequence; nothing is begun beforehand where it `isLast`. */
  async decode({ isLast = false } = {}): Promise<void> {
    const step = this.#ahead ?? this.#runner.step(this.decodeBatch());
    this.#length++;
    this.#ahead = isLast ? undefined : this.#beginNext();
    const { tokenIds } = await step;
    this.#next = [...tokenIds];
  }

  /** Runs the step that decode() would run, as many at once as the runner takes; what they draw is dropped. */
  async rehearse(): Promise<void> {
    await this.settle();
    const step = this.decodeBatch();
    await Promise.all(Array.from({ length: this.#runner.stepsInFlight }, () => this.#runner.step(step)));
  }

  /** Waits for what `decode` has begun beforehand; its tokens are dropped. */
  async settle(): Promise<void> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    await ahead;
  }

  #beginNext(): Promise<StepResult> | undefined {
    const room = this.#blockTables[0].length * BLOCK_SIZE;
    if (this.#runner.stepsInFlight < 2 || this.#length >= room) return undefined;
    const spans = this.#prompts.map((_, sequence): Span => {
      return { sequence, tokenIds: [drawnBefore(sequence)], start: this.#length, sample: true };
    });
    const step = this.#runner.step(pack(spans, this.#blockTables));
    step.catch(() => {}); // For whoever waits for it, if anybody does.
    return step;
  }

  /** The step that decode() would run. */
  decodeBatch(): StepBatch {
    const start = this.#length;
    const spans = this.#next.map((id, sequence) => ({ sequence, tokenIds: [id], start, sample: true }));
    return pack(spans, this.#blockTables);
  }

  /** A decode of all but the last sequence, beside which the last one reads the last `chunk` tokens of its prompt again. */
  mixedBatch(chunk: number): StepBatch {
    const last = this.#prompts.length - 1, prompt = this.#prompts[last];
    const spans = this.#next.slice(0, last).map((id, sequence): Span => {
      return { sequence, tokenIds: [id], start: this.#length, sample: true };
    });
    const read = {
      sequence: last,
      tokenIds: prompt.slice(-chunk),
      start: prompt.length - chunk,
      sample: true,
    };
    return pack([...spans, read], this.#blockTables);
  }

  /** The first step that prefill() would run. */
  prefillBatch(): StepBatch {
    return pack(prefillSteps(this.#prompts, this.#runner.limits.maxTokens)[0], this.#blockTables);
  }

  async #step(spans: readonly Span[]): Promise<StepResult> {
    return await this.#runner.step(pack(spans, this.#blockTables));
  }
}

/** Cuts prompts into steps of at most `maxTokens` rows, sequence after sequence. */
function prefillSteps(prompts: readonly (readonly number[])[], maxTokens: number): Span[][] {
  const steps: Span[][] = [[]];
  let free = maxTokens;
  prompts.forEach((prompt, sequence) => {
    for (let start = 0; start < prompt.length;) {
      if (free === 0) {
        steps.push([]);
        free = maxTokens;
      }
      const tokenIds = prompt.slice(start, start + free);
      const end = start + tokenIds.length;
      steps[steps.length - 1].push({ sequence, tokenIds, start, sample: end === prompt.length });
      free -= tokenIds.length;
      start = end;
    }
  });
  return steps;
}

function pack(spans: readonly Span[], blockTables: readonly Uint32Array[]): StepBatch {
  const rows = spans.flatMap(({ sequence, tokenIds, start }) =>
    tokenIds.map((id, i) => ({ id, position: start + i, table: blockTables[sequence] }))
  );
  const lengths = spans.map(({ start, tokenIds }) => start + tokenIds.length);
  const queryStart = Uint32Array.of(0, ...spans.map(({ tokenIds }) => tokenIds.length));
  for (let i = 1; i < queryStart.length; i++) queryStart[i] += queryStart[i - 1];
  return {
    tokenIds: Uint32Array.from(rows, ({ id }) => id),
    positions: Uint32Array.from(rows, ({ position }) => position),
    slotMapping: Uint32Array.from(
      rows,
      ({ position, table }) => table[Math.floor(position / BLOCK_SIZE)] * BLOCK_SIZE + position % BLOCK_SIZE,
    ),
    queryStart,
    contextLengths: Uint32Array.from(lengths),
    blockTables: spans.map(({ sequence }, i) =>
      blockTables[sequence].subarray(0, Math.ceil(lengths[i] / BLOCK_SIZE))
    ),
    samples: spans.flatMap(({ sample }, i) =>
      sample ? [{ row: queryStart[i + 1] - 1, params: GREEDY, counter: lengths[i], topLogprobs: -1 }] : []
    ),
  };
}
