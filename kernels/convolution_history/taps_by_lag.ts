// Taps as neighbouring channels read them together: by lag. Transposed on the GPU when a plan is made.
import type { TableSetUp } from "../gpu_set_up.ts";
import { specialise, unroll } from "../wgsl.ts";
import code from "./taps_by_lag.wgsl" with { type: "text" };

/** Filters and lags of a tile, and how many of them 256 threads take at once. */
const TILE = 32, LINES = 8;

/** @param source f32 [count][taps]; the table is [taps][count] */
export function tapsByLag(source: () => Float32Array, taps: number, count: number): TableSetUp {
  return {
    source,
    calls: (source, table) => [{
      label: `taps by lag, ${taps} of ${count}`,
      code: specialise(code, { TAPS: taps, COUNT: count }, {
        read: unroll(TILE / LINES, (i) =>
          `{ let row = 32u * group.y + line + ${i * LINES}u;
if (row < COUNT && lag < TAPS) { tile[(line + ${i * LINES}u) * 33u + lane] = source[row * TAPS + lag]; } }`),
        write: unroll(TILE / LINES, (i) =>
          `{ let lag = 32u * group.x + line + ${i * LINES}u;
if (row < COUNT && lag < TAPS) { table[lag * COUNT + row] = tile[lane * 33u + line + ${i * LINES}u]; } }`),
      }),
      bindings: [{ buffer: source, access: "read" }, { buffer: table, access: "readWrite" }],
      grid: [Math.ceil(taps / TILE), Math.ceil(count / TILE), 1],
    }],
  };
}
