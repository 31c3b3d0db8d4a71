// Which form of an int8 linear a machine does faster. Limbs take three products of 16 bytes where floats take four
// multiply-adds of 4, so limbs win where a product of bytes is one instruction (AVX-VNNI, Arm's dot product) and lose
// where it is three. Nothing says which machine this is, so it is measured, when a model is loaded, in a tenth of a second.

export const INT8_FORMS = ["limbs", "floats"] as const;
export type Int8Form = (typeof INT8_FORMS)[number];

/** The functions of int8_form.wasm.ts. */
export interface Int8Probes {
  multiplyBytes(count: number, address: number): void;
  multiplyFloats(count: number, address: number): void;
}

const COUNT = 9_000;
const CALLS = 10;
/** For how long each is measured: the compiler that makes fast code of the module takes its time. */
const PROBE_MS = 40;

/** Instructions of 128 bits a second, of one thread at its best. */
export interface ProductRates {
  /** Products of 16 bytes, summed in fours. */
  readonly bytes: number;
  /** Multiply-adds of 4 floats. */
  readonly floats: number;
}

/** @param address 48 bytes of the memory that nobody uses */
export function measureProductRates(
  probes: Int8Probes,
  address: number,
  now = () => performance.now(),
): ProductRates {
  const rateOf = (run: () => void) => COUNT * CALLS * 1000 / bestMs(run, now);
  return {
    bytes: rateOf(() => probes.multiplyBytes(COUNT, address)),
    floats: rateOf(() => probes.multiplyFloats(COUNT, address)),
  };
}

/** Products of bytes may cost 4 / 3 of what multiply-adds do: without AVX-VNNI it is over twice as much. */
export function fasterInt8Form({ bytes, floats }: ProductRates): Int8Form {
  return bytes * 4 / 3 > floats ? "limbs" : "floats";
}

/** The best of many short trials, so that whatever else runs on the machine hardly counts. */
function bestMs(run: () => void, now: () => number): number {
  let best = Infinity;
  for (const end = now() + PROBE_MS; now() < end;) {
    const started = now();
    for (let i = 0; i < CALLS; i++) run();
    best = Math.min(best, now() - started);
  }
  return best;
}
