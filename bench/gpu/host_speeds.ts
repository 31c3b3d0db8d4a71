// How fast the host is as time goes on: at dispatches, at arithmetic, and at reads that wait for memory. On virtual machines
// it has more than one speed, and a step of few rows is bound by it.
import { type Call, encodeAll, type EncodeOptions, prepareCalls } from "./encode_costs.ts";

/** What the host does at one time, each on average over an interval. */
export interface HostSpeed {
  /** Microseconds that a dispatch takes: encoded, finished and submitted. */
  readonly dispatch: number;
  /** Nanoseconds of a turn of a loop that needs the core alone. */
  readonly arithmetic: number;
  /** Nanoseconds of a read that waits for memory. */
  readonly memory: number;
}

export const INTERVAL_MS = 500;
/** A round's; of the reads few, which would push out of the caches what the next dispatches need. */
const TURNS = 100_000, READS = 500;
/** What the reads are spread over. */
const CHAIN_BYTES = 32 * 2 ** 20;

/** The host's speed, interval after interval. */
export async function* hostSpeeds(options: EncodeOptions): AsyncGenerator<HostSpeed, never> {
  const { device, calls } = await prepareCalls(options);
  const chain = makeChain(CHAIN_BYTES / Uint32Array.BYTES_PER_ELEMENT);
  let number = 1, place = 0;
  while (true) {
    const spent = { dispatch: 0, arithmetic: 0, memory: 0 };
    const time = (name: keyof HostSpeed, work: () => void) => {
      const started = performance.now();
      work();
      spent[name] += performance.now() - started;
    };
    let rounds = 0;
    for (const started = performance.now(); performance.now() - started < INTERVAL_MS; rounds++) {
      time("dispatch", () => submitAll(device, calls));
      time("arithmetic", () => number = arithmetic(number));
      time("memory", () => place = follow(chain, place));
      await device.queue.onSubmittedWorkDone();
    }
    yield {
      dispatch: spent.dispatch * 1e3 / (rounds * calls.length),
      arithmetic: spent.arithmetic * 1e6 / (rounds * TURNS),
      memory: spent.memory * 1e6 / (rounds * READS),
    };
  }
}

function submitAll(device: GPUDevice, calls: readonly Call[]): void {
  const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
  encodeAll(pass, calls);
  pass.end();
  device.queue.submit([encoder.finish()]);
}

function arithmetic(number: number): number {
  for (let turn = 0; turn < TURNS; turn++) number = Math.imul(number, 1664525) + 1013904223 | 0;
  return number;
}

function follow(chain: Uint32Array, place: number): number {
  for (let read = 0; read < READS; read++) place = chain[place];
  return place;
}

/** Places in one random cycle through all of them (Sattolo's). */
function makeChain(length: number): Uint32Array {
  const chain = new Uint32Array(length);
  for (let i = 0; i < length; i++) chain[i] = i;
  for (let last = length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * last), place = chain[last];
    chain[last] = chain[other];
    chain[other] = place;
  }
  return chain;
}
