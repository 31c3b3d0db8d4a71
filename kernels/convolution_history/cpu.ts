// The history of a long convolution on the CPU: store the new inputs, then sum over the earlier ones; where single tokens'
// sums are made online (online_sums.ts), squares before both. All sums are direct: none is transformed.
import {
  BEFORE,
  BEFORE_STRIDE,
  CONVOLUTION_HISTORY,
  FILTER,
  FILTER_STRIDE,
  HISTORY,
  IN_WIDTH,
  INPUT,
  INPUT_STRIDE,
  KEPT,
  KIND,
  NUM_TAPS,
  ONLINE_SQUARES,
  OUTPUT,
  OUTPUT_STRIDE,
  ROWS,
  ROWS_PER_TASK,
  SQUARE,
  STORE_HISTORY,
  WINDOW,
} from "../cpu_layout.ts";
import { columnsCall, type CpuCall, type CpuContext, rowsPerTask, rowStride } from "../cpu_op.ts";
import type { ConvolutionHistoryNode, HistoryLayer } from "../graph.ts";
import { BLOCK_SIZE } from "../step.ts";

export function lowerConvolutionHistory(node: ConvolutionHistoryNode, context: CpuContext): CpuCall[] {
  const output = context.activation(node.output), [, taps] = node.filter.shape, { width } = node.input;
  const shape = { [HISTORY]: context.history(node.history), [IN_WIDTH]: width };
  const { online } = context;
  const sums = {
    ...shape,
    [FILTER]: context.rows(node.filter),
    [FILTER_STRIDE]: rowStride(taps),
    [NUM_TAPS]: taps,
    ...(online && {
      [KEPT]: context.onlineSums(node.history),
      [WINDOW]: online.window,
      [SQUARE]: online.square,
    }),
  };
  const squares = online ? [{ ...sums, [KIND]: ONLINE_SQUARES }] : [];
  return [...squares, {
    ...shape,
    [KIND]: STORE_HISTORY,
    [ROWS]: 0,
    [ROWS_PER_TASK]: rowsPerTask(width),
    ...columnsCall(node.input, INPUT, INPUT_STRIDE, context),
    ...columnsCall(node.before, BEFORE, BEFORE_STRIDE, context),
  }, {
    ...sums,
    [KIND]: CONVOLUTION_HISTORY,
    [OUTPUT]: output.address,
    [OUTPUT_STRIDE]: output.stride,
  }];
}

/** Bytes of one block's inputs. */
export function historyBlockBytes({ width }: HistoryLayer): number {
  return 4 * width * BLOCK_SIZE;
}
