// Float64 reference of what a sequence's earlier inputs add to the rows of a step, written from the definition.
import { BLOCK_SIZE, type StepBatch } from "../step.ts";

/** One layer's inputs: cache slot -> [width]. */
export type ReferenceHistory = Map<number, Float64Array>;

/** Input and gate [tokens][width], the filter [width][taps]. */
export interface ConvolutionHistoryOperands {
  readonly input: Float64Array;
  readonly before?: Float64Array;
  readonly filter: ArrayLike<number>;
}

/** @throws {RangeError} when a row needs an input that no step has stored */
export function convolutionHistoryReference(
  { input, before, filter }: ConvolutionHistoryOperands,
  width: number,
  batch: StepBatch,
  history: ReferenceHistory,
): Float64Array {
  const taps = filter.length / width, output = new Float64Array(input.length);
  batch.slotMapping.forEach((slot, row) => {
    const signal = input.slice(row * width, (row + 1) * width);
    history.set(slot, before ? signal.map((x, c) => x * before[row * width + c]) : signal);
  });
  batch.blockTables.forEach((blocks, s) => {
    const firstRow = batch.queryStart[s], past = batch.positions[firstRow];
    for (let row = firstRow; row < batch.queryStart[s + 1]; row++) {
      const position = batch.positions[row];
      for (let j = Math.max(0, position - taps + 1); j < past; j++) {
        const signal = inputAt(history, blocks, j), lag = position - j;
        for (let c = 0; c < width; c++) output[row * width + c] += filter[c * taps + lag] * signal[c];
      }
    }
  });
  return output;
}

function inputAt(history: ReferenceHistory, blocks: Uint32Array, position: number): Float64Array {
  const slot = blocks[Math.floor(position / BLOCK_SIZE)] * BLOCK_SIZE + position % BLOCK_SIZE;
  const signal = history.get(slot);
  if (!signal) throw new RangeError(`Cannot go on: slot ${slot} was never written`);
  return signal;
}
