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
/** For how long each is measured: the compiler that makes fast code of the module takes its time. */
const PROBE_MS = 40;

/**
 * Measures both. Products of bytes take as long as multiply-adds, or 2.7 times as long (measured on one processor with
 * and without AVX-VNNI); limbs are worth it up to 4 / 3.
 * @param address 48 bytes of the memory that nobody uses
 */
export function fasterInt8Form(probes: Int8Probes, address: number, now = () => performance.now()): Int8Form {
  const bytesMs = bestMs(() => probes.multiplyBytes(COUNT, address), now);
  const floatsMs = bestMs(() => probes.multiplyFloats(COUNT, address), now);
  return bytesMs < floatsMs * 4 / 3 ? "limbs" : "floats";
}

/** The best of many short trials, so that whatever else runs on the machine hardly counts. */
function bestMs(run: () => void, now: () => number): number {
  let best = Infinity;
  for (const end = now() + PROBE_MS; now() < end;) {
    const started = now();
    for (let i = 0; i < 10; i++) run();
    best = Math.min(best, now() - started);
  }
  return best;
}
