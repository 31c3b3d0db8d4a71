// The CPU kernels' entry: the loop that runs a step's calls on all threads. Every thread walks the same list; of each
// call it takes tasks until none is left, then waits until all are finished. So nobody waits for a thread that the system
// has put aside, unless it holds a task. Such a thread may come back in a later step: counters carry the number of their
// step, and a thread that finds another than its own drops out. AssemblyScript; `deno task build` compiles it to cpu.wasm,
// and a test checks that the two belong together.
import { attention, attentionTasks, storeKv } from "./attention/attention.wasm";
import { convolutionHistory, onlineSquares, onlineSquareTasks, storeHistory } from "./convolution_history/convolution_history.wasm";
import {
  ATTENTION,
  CALL_BYTES,
  CALLS,
  CONVOLUTION_HISTORY,
  DIAGONAL_SSM,
  EMBEDDING,
  GATED,
  GATHER_ROWS,
  HISTORY_CHANNELS,
  KIND,
  LAYER_NORM,
  LINEAR_F32,
  LINEAR_I8,
  LONG_CHANNELS,
  LONG_CONVOLUTION,
  NUM_CALLS,
  NUM_TASKS,
  ONLINE_SQUARES,
  QUANTIZE_ROWS,
  ROTARY,
  ROWS_PER_TASK,
  SHORT_CHANNELS,
  SHORT_CONVOLUTION,
  SLEEPERS,
  SSM_CHANNELS,
  STEP_NUMBER,
  STOPPED,
  STORE_HISTORY,
  STORE_KV,
  UNFINISHED,
  UNTAKEN,
} from "./cpu_layout";
import { ceilDiv, channelTasks, numRows, word } from "./cpu_step.wasm";
import { diagonalSsm } from "./diagonal_ssm/diagonal_ssm.wasm";
import { embedding } from "./embedding/embedding.wasm";
import { gated } from "./gated/gated.wasm";
import { gatherRows } from "./gather_rows/gather_rows.wasm";
import { layerNorm } from "./layer_norm/layer_norm.wasm";
import { linearF32, linearI8, linearTasks } from "./linear/linear.wasm";
import { quantizeRows } from "./linear/quantize_rows.wasm";
import { longConvolution } from "./long_convolution/long_convolution.wasm";
import { rotary } from "./rotary/rotary.wasm";
import { shortConvolution } from "./short_convolution/short_convolution.wasm";

export { multiplyBytes, multiplyFloats } from "./linear/int8_form.wasm";

/** Looks at a number that is about to change before the thread goes to sleep on it: some ten microseconds. */
const SPINS: i32 = 10_000;

/** Runs the step that the header describes; on the thread that wrote it, with the others helping. */
export function step(): void {
  const number = load<u32>(STEP_NUMBER) + 1;
  const end = callAt(load<u32>(NUM_CALLS));
  for (let call = callAt(0); call < end; call += CALL_BYTES) {
    const count = numTasks(call), tasks = counter(number, count);
    store<u32>(call, count, NUM_TASKS);
    atomic.store<u64>(call, tasks, UNFINISHED);
    atomic.store<u64>(call, tasks, UNTAKEN);
  }
  atomic.store<u32>(STEP_NUMBER, number);
  wake(STEP_NUMBER);
  runCalls(number, 0);
}

/** The life of every other thread; returns when the threads are stopped. */
export function help(thread: u32): void {
  for (let number: u32 = 0;;) {
    awaitChange(STEP_NUMBER, number);
    number = atomic.load<u32>(STEP_NUMBER);
    if (load<u32>(STOPPED)) return;
    runCalls(number, thread);
  }
}

/** Lets the other threads return from help(). */
export function stop(): void {
  store<u32>(STOPPED, 1);
  atomic.add<u32>(STEP_NUMBER, 1);
  wake(STEP_NUMBER);
}

function runCalls(number: u32, thread: u32): void {
  const end = callAt(load<u32>(NUM_CALLS));
  for (let call = callAt(0); call < end; call += CALL_BYTES) {
    for (let task = takeTask(call, number); task >= 0; task = takeTask(call, number)) {
      runTask(call, <u32>task, thread);
      if (atomic.sub<u64>(call, 1, UNFINISHED) == counter(number, 1)) wake(call + UNFINISHED);
    }
    if (!awaitFinish(call, number)) return;
  }
}

@inline
function counter(number: u32, tasks: u32): u64 {
  return <u64>number << 32 | <u64>tasks;
}

/** A task that is this thread's now, in ascending order: memory is read forwards. Negative: none is left, or the step is over. */
function takeTask(call: usize, number: u32): i32 {
  let untaken = atomic.load<u64>(call, UNTAKEN);
  while (<u32>(untaken >> 32) == number && <u32>untaken > 0) {
    const found = atomic.cmpxchg<u64>(call, untaken, untaken - 1, UNTAKEN);
    if (found == untaken) return <i32>(load<u32>(call, NUM_TASKS) - <u32>untaken);
    untaken = found;
  }
  return -1;
}

/** Returns true when all tasks of the call are finished, false when the step is over. */
function awaitFinish(call: usize, number: u32): bool {
  let unfinished = atomic.load<u64>(call, UNFINISHED);
  while (<u32>(unfinished >> 32) == number && <u32>unfinished > 0) {
    awaitChange(call + UNFINISHED, <u32>unfinished);
    unfinished = atomic.load<u64>(call, UNFINISHED);
  }
  return <u32>(unfinished >> 32) == number;
}

@inline
function callAt(index: u32): usize {
  return <usize>load<u32>(CALLS) + <usize>index * CALL_BYTES;
}

function numTasks(call: usize): u32 {
  const kind = word(call, KIND);
  if (kind == LINEAR_I8 || kind == LINEAR_F32) return linearTasks(call);
  if (kind == ATTENTION) return attentionTasks(call);
  if (kind == SHORT_CONVOLUTION) return channelTasks(call, SHORT_CHANNELS);
  if (kind == DIAGONAL_SSM) return channelTasks(call, SSM_CHANNELS);
  if (kind == LONG_CONVOLUTION) return channelTasks(call, LONG_CHANNELS);
  if (kind == CONVOLUTION_HISTORY) return channelTasks(call, HISTORY_CHANNELS);
  if (kind == ONLINE_SQUARES) return onlineSquareTasks(call);
  return ceilDiv(numRows(call), word(call, ROWS_PER_TASK));
}

function runTask(call: usize, task: u32, thread: u32): void {
  switch (word(call, KIND)) {
    case LINEAR_I8:
      return linearI8(call, task);
    case LINEAR_F32:
      return linearF32(call, task, thread);
    case ATTENTION:
      return attention(call, task, thread);
    case SHORT_CONVOLUTION:
      return shortConvolution(call, task);
    case DIAGONAL_SSM:
      return diagonalSsm(call, task, thread);
    case LONG_CONVOLUTION:
      return longConvolution(call, task, thread);
    case ONLINE_SQUARES:
      return onlineSquares(call, task);
    case CONVOLUTION_HISTORY:
      return convolutionHistory(call, task);
    default: {
      const count = word(call, ROWS_PER_TASK), end = min((task + 1) * count, numRows(call));
      for (let row = task * count; row < end; row++) runRow(call, row);
    }
  }
}

function runRow(call: usize, row: u32): void {
  switch (word(call, KIND)) {
    case EMBEDDING:
      return embedding(call, row);
    case LAYER_NORM:
      return layerNorm(call, row);
    case QUANTIZE_ROWS:
      return quantizeRows(call, row);
    case STORE_KV:
      return storeKv(call, row);
    case STORE_HISTORY:
      return storeHistory(call, row);
    case GATHER_ROWS:
      return gatherRows(call, row);
    case ROTARY:
      return rotary(call, row);
    case GATED:
      return gated(call, row);
    default:
      unreachable();
  }
}

/** Wakes who sleeps on the u32 at `address`, which has changed. */
function wake(address: usize): void {
  if (atomic.load<u32>(SLEEPERS) > 0) atomic.notify(address, -1);
}

/** Returns when the u32 at `address` is, or was for a moment, another than `seen`. */
function awaitChange(address: usize, seen: u32): void {
  for (let i = 0; i < SPINS; i++) {
    if (atomic.load<u32>(address) != seen) return;
  }
  atomic.add<u32>(SLEEPERS, 1);
  atomic.wait<i32>(address, <i32>seen, -1);
  atomic.sub<u32>(SLEEPERS, 1);
}
