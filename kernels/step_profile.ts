// Times a step's dispatches one by one, each beside what it has to do, and some that do nothing, which take what every
// one of them takes beside its work; or all of them together, as close as they follow one another in a step. Knows no graph.
import { DispatchTimer } from "../device/dispatch_timer.ts";
import type { GpuDevice } from "../device/gpu_device.ts";
import type { ActiveCall } from "./active_calls.ts";
import type { Work } from "./gpu_op.ts";
import { compileCalls, encodeCall } from "./pipelines.ts";
import type { StepBatch } from "./step.ts";

/** What a dispatch took; nanoseconds since the step's first one began. */
export interface DispatchTime {
  readonly label: string;
  readonly begin: number;
  readonly end: number;
  /** What it has to do, where its op knows. */
  readonly work?: Work;
}

export interface StepProfile {
  /** When the first dispatch began, by the GPU's clock, nanoseconds. */
  readonly start: bigint;
  readonly dispatches: readonly DispatchTime[];
  /** After them, dispatches that do nothing: what a pass of its own takes. */
  readonly empty: readonly DispatchTime[];
}

const NUM_EMPTY = 8;

/** A dispatch that does nothing, though it waits for the one before: it may write to `buffer`. */
export async function emptyCall(gpu: GpuDevice, buffer: GPUBuffer): Promise<ActiveCall> {
  const [call] = await compileCalls(gpu, [{
    label: "empty",
    code: "@compute @workgroup_size(1) fn main() {}",
    bindings: [{ buffer, access: "readWrite" }],
    grid: () => [1, 1, 1],
  }]);
  return { call, grid: [1, 1, 1] };
}

/**
 * Runs `calls`, whose step's control buffer is written already, and then `empty` some times. All is submitted before this
 * returns.
 * @throws {TypeError} when the adapter has no timestamps
 */
export async function profileCalls(
  gpu: GpuDevice,
  calls: readonly ActiveCall[],
  batch: StepBatch,
  empty: ActiveCall,
): Promise<StepProfile> {
  const all = [...calls, ...Array<ActiveCall>(NUM_EMPTY).fill(empty)];
  using timer = new DispatchTimer(gpu, all.length);
  const encoder = gpu.device.createCommandEncoder();
  for (const call of all) {
    const pass = timer.beginPass(encoder);
    encodeCall(pass, call);
    pass.end();
  }
  timer.encodeResults(encoder);
  gpu.device.queue.submit([encoder.finish()]);
  const { start, spans } = await timer.read();
  const times = all.map(({ call }, i): DispatchTime => {
    const work = call.work?.(batch);
    return { label: call.label, ...spans[i], ...(work && { work }) };
  });
  return { start, dispatches: times.slice(0, calls.length), empty: times.slice(calls.length) };
}

/**
 * Runs `calls`, whose step's control buffer is written already, `repeats` times over in one pass, which is submitted before
 * this returns. Nanoseconds of one time.
 * @throws {TypeError} when the adapter has no timestamps
 */
export async function timeCalls(
  gpu: GpuDevice,
  calls: readonly ActiveCall[],
  repeats: number,
): Promise<number> {
  using timer = new DispatchTimer(gpu, 1);
  const encoder = gpu.device.createCommandEncoder(), pass = timer.beginPass(encoder);
  for (let i = 0; i < repeats; i++) {
    for (const call of calls) encodeCall(pass, call);
  }
  pass.end();
  timer.encodeResults(encoder);
  gpu.device.queue.submit([encoder.finish()]);
  const { spans: [{ end }] } = await timer.read();
  return end / repeats;
}
