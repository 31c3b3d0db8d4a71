// Float64 reference of causal attention over a paged cache, written from the definition: a softmax in two passes, no
// tiles. Keeps K and V by slot as the real cache does, and refuses to read a slot that was never written.
import type { AttentionNode } from "../graph.ts";
import { BLOCK_SIZE, type StepBatch } from "../step.ts";

/** One layer's cache: slot -> [k of all KV heads | v of all KV heads]. */
export type ReferenceKvCache = Map<number, Float64Array>;

/** Does the batch's copies, stores the rows' k and v in `cache`, then lets every row attend. input [tokens, (heads + 2 kvHeads) * headSize]. */
export function attentionReference(
  input: Float64Array,
  node: AttentionNode,
  batch: StepBatch,
  cache: ReferenceKvCache,
): Float64Array {
  const queryWidth = node.numHeads * node.headSize;
  const inWidth = queryWidth + 2 * node.numKvHeads * node.headSize;
  for (const { from, to, rows } of batch.copies ?? []) {
    for (let i = 0; i < rows; i++) cache.set(to * BLOCK_SIZE + i, cache.get(from * BLOCK_SIZE + i)!);
  }
  batch.slotMapping.forEach((slot, row) => {
    cache.set(slot, input.slice(row * inWidth + queryWidth, (row + 1) * inWidth));
  });
  const output = new Float64Array(batch.tokenIds.length * queryWidth);
  for (let s = 0; s < batch.contextLengths.length; s++) {
    for (let row = batch.queryStart[s]; row < batch.queryStart[s + 1]; row++) {
      const length = batch.positions[row] + 1, first = Math.max(0, length - (node.window ?? length));
      const visible = visibleRows(batch.blockTables[s], first, length, cache);
      const query = input.subarray(row * inWidth, row * inWidth + queryWidth);
      output.set(attendRow(query, visible, node), row * queryWidth);
    }
  }
  return output;
}

/** Rows of the positions from `first` up to `length`. */
function visibleRows(
  blockTable: Uint32Array,
  first: number,
  length: number,
  cache: ReferenceKvCache,
): Float64Array[] {
  return Array.from({ length: length - first }, (_, i) => {
    const position = first + i;
    const slot = blockTable[Math.floor(position / BLOCK_SIZE)] * BLOCK_SIZE + position % BLOCK_SIZE;
    const row = cache.get(slot);
    if (!row) throw new RangeError(`Cannot attend: position ${position} lies in slot ${slot}, never written`);
    return row;
  });
}

/** One query row [heads * headSize] against the cached rows it may see. */
function attendRow(query: Float64Array, visible: readonly Float64Array[], node: AttentionNode): Float64Array {
  const { numHeads, numKvHeads, headSize, scale } = node;
  const output = new Float64Array(numHeads * headSize);
  for (let head = 0; head < numHeads; head++) {
    const keyAt = Math.floor(head / (numHeads / numKvHeads)) * headSize;
    const valueAt = keyAt + numKvHeads * headSize;
    const scores = visible.map((row) => {
      let sum = 0;
      for (let c = 0; c < headSize; c++) sum += query[head * headSize + c] * row[keyAt + c];
      return sum * scale;
    });
    const most = scores.reduce((a, b) => Math.max(a, b), -Infinity);
    const weights = scores.map((score) => Math.exp(score - most));
    const total = weights.reduce((a, b) => a + b, 0);
    visible.forEach((row, i) => {
      for (let c = 0; c < headSize; c++) output[head * headSize + c] += weights[i] / total * row[valueAt + c];
    });
  }
  return output;
}
