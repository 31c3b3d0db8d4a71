// The CPU kernels' entry: the loop that runs a step's calls on all threads. Every thread walks the same list; of each
// call it takes tasks until none is left, then waits for the others. AssemblyScript; `deno task build` compiles it to
// cpu.wasm, and a test checks that the two belong together.
import { attention, attentionTasks, storeKv } from "./attention/attention.wasm";
import {
  ARRIVED,
  ATTENTION,
  BARRIER_NUMBER,
  CALL_BYTES,
  CALLS,
  EMBEDDING,
  GATHER_ROWS,
  KIND,
  LAYER_NORM,
  LINEAR_F32,
  LINEAR_I8,
  NEXT_TASK,
  NUM_CALLS,
  NUM_THREADS,
  QUANTIZE_ROWS,
  SLEEPERS,
  STEP_NUMBER,
  STOPPED,
  STORE_KV,
} from "./cpu_layout";
import { numRows, word } from "./cpu_step.wasm";
import { embedding } from "./embedding/embedding.wasm";
import { gatherRows } from "./gather_rows/gather_rows.wasm";
import { layerNorm } from "./layer_norm/layer_norm.wasm";
import { linearF32, linearI8, linearTasks } from "./linear/linear.wasm";
import { quantizeRows } from "./linear/quantize_rows.wasm";

export { multiplyBytes, multiplyFloats } from "./linear/int8_form.wasm";

/** Looks at a number that is about to change before the thread goes to sleep on it: some 20 us. */
const SPINS: i32 = 10_000;

/** Runs the step that the header describes; on the thread that wrote it, with the others helping. */
export function step(): void {
  const end = callAt(load<u32>(NUM_CALLS));
  for (let call = callAt(0); call < end; call += CALL_BYTES) store<u32>(call, 0, NEXT_TASK);
  change(STEP_NUMBER);
  runCalls(0);
}

/** The life of every other thread; returns when the threads are stopped. */
export function help(thread: u32): void {
  for (let seen: i32 = 0; ; seen++) {
    awaitChange(STEP_NUMBER, seen);
    if (load<u32>(STOPPED)) return;
    runCalls(thread);
  }
}

/** Lets the other threads return from help(). */
export function stop(): void {
  store<u32>(STOPPED, 1);
  change(STEP_NUMBER);
}

function runCalls(thread: u32): void {
  const end = callAt(load<u32>(NUM_CALLS));
  for (let call = callAt(0); call < end; call += CALL_BYTES) {
    const count = numTasks(call);
    for (;;) {
      const task = atomic.add<u32>(call, 1, NEXT_TASK);
      if (task >= count) break;
      runTask(call, task, thread);
    }
    awaitOthers();
  }
}

@inline
function callAt(index: u32): usize {
  return <usize>load<u32>(CALLS) + <usize>index * CALL_BYTES;
}

function numTasks(call: usize): u32 {
  const kind = word(call, KIND);
  if (kind == LINEAR_I8 || kind == LINEAR_F32) return linearTasks(call);
  return kind == ATTENTION ? attentionTasks(call) : numRows(call);
}

function runTask(call: usize, task: u32, thread: u32): void {
  switch (word(call, KIND)) {
    case EMBEDDING:
      return embedding(call, task);
    case LAYER_NORM:
      return layerNorm(call, task);
    case QUANTIZE_ROWS:
      return quantizeRows(call, task);
    case LINEAR_I8:
      return linearI8(call, task);
    case LINEAR_F32:
      return linearF32(call, task, thread);
    case STORE_KV:
      return storeKv(call, task);
    case ATTENTION:
      return attention(call, task, thread);
    case GATHER_ROWS:
      return gatherRows(call, task);
    default:
      unreachable();
  }
}

/** Returns when every thread has come here. */
function awaitOthers(): void {
  const numThreads = load<i32>(NUM_THREADS);
  if (numThreads == 1) return;
  const barrier = atomic.load<i32>(BARRIER_NUMBER);
  if (atomic.add<i32>(ARRIVED, 1) + 1 == numThreads) {
    atomic.store<i32>(ARRIVED, 0);
    change(BARRIER_NUMBER);
  } else {
    awaitChange(BARRIER_NUMBER, barrier);
  }
}

/** Counts the number at `address` up and wakes who sleeps on it. */
function change(address: usize): void {
  atomic.add<i32>(address, 1);
  if (atomic.load<i32>(SLEEPERS) > 0) atomic.notify(address, -1);
}

/** Returns when the number at `address` is no longer `seen`. */
function awaitChange(address: usize, seen: i32): void {
  for (let i = 0; i < SPINS; i++) {
    if (atomic.load<i32>(address) != seen) return;
  }
  atomic.add<i32>(SLEEPERS, 1);
  while (atomic.load<i32>(address) == seen) atomic.wait<i32>(address, seen, -1);
  atomic.sub<i32>(SLEEPERS, 1);
}
