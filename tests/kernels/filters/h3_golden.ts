// The parameters of H3's golden mixer, whose values other code gave in float64, and what follows from them.
import { discretise } from "../../../kernels/filters/diagonal_filter.ts";
import { shiftFilter } from "../../../kernels/filters/shift_filter.ts";
import { goldenFill } from "./golden_fill.ts";

export const WIDTH = 4, STATE = 64, MODES = 32, LENGTH = 6;

export const logDt = goldenFill(WIDTH, 11).map((x) => x - 3);
const invAReal = goldenFill(WIDTH * MODES, 12);
const aImag = Float64Array.from({ length: MODES }, (_, n) => Math.PI * n);
export const channels = Array.from({ length: WIDTH }, (_, channel) =>
  discretise({
    logDt: logDt[channel],
    invAReal: invAReal.subarray(channel * MODES, (channel + 1) * MODES),
    aImag,
    b: complexOf(13, channel),
    c: complexOf(14, channel),
  }));

function complexOf(s: number, channel: number) {
  const pairs = goldenFill(WIDTH * MODES * 2, s).subarray(channel * MODES * 2, (channel + 1) * MODES * 2);
  return { re: pairs.filter((_, i) => i % 2 === 0), im: pairs.filter((_, i) => i % 2 === 1) };
}

/** Poles or residues [WIDTH][MODES] of pairs. */
export function pairsOf(part: "poles" | "residues"): Float64Array {
  return Float64Array.from(channels.flatMap((channel) => {
    const { re, im } = channel[part];
    return Array.from(re).flatMap((value, n) => [value, im[n]]);
  }));
}

/** Filters by lag, channel by channel. */
export function shiftFilters(skips: ArrayLike<number>): Float64Array[] {
  const b = goldenFill(WIDTH * STATE, 8), c = goldenFill(WIDTH * STATE, 9);
  return Array.from({ length: WIDTH }, (_, channel) => {
    const part = (x: Float64Array) => x.subarray(channel * STATE, (channel + 1) * STATE);
    return shiftFilter(part(b), part(c), skips[channel]);
  });
}

/** What the mixer makes of the golden input at its first and its last token. */
export const FIRST_OUTPUT = [-7.3496007706, 0.2462398237, 6.9406347129, 0.3331070403];
export const LAST_OUTPUT = [0.0626696236, -0.2424175271, -0.5602503929, -0.5384704839];
