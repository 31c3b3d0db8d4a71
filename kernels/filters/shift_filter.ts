// The shift state-space model of H3 (Fu et al. 2022, section 3.1) as the finite filter that it is.

/**
 * Taps by lag of a channel's shift SSM, y[t] = sum over i of taps[i] x[t - i]: taps[i] = sum over n >= i of c[n] b[n - i].
 * @param skip what the input itself is added with; goes to lag 0
 */
export function shiftFilter(b: ArrayLike<number>, c: ArrayLike<number>, skip = 0): Float64Array {
  const taps = new Float64Array(c.length);
  for (let i = 0; i < c.length; i++) {
    for (let n = i; n < c.length; n++) taps[i] += c[n] * b[n - i];
  }
  taps[0] += skip;
  return taps;
}

/**
 * Filters [width][taps] as the shortConvolution op reads them, [taps][width] by lag.
 * @param order "lag": the first tap belongs to the newest input; "time": the last, as in stored convolution weights
 */
export function tapsByLag(
  filters: ArrayLike<number>,
  width: number,
  order: "lag" | "time",
): Float32Array<ArrayBuffer> {
  const numTaps = filters.length / width, taps = new Float32Array(filters.length);
  for (let channel = 0; channel < width; channel++) {
    for (let lag = 0; lag < numTaps; lag++) {
      taps[lag * width + channel] = filters[channel * numTaps + (order === "lag" ? lag : numTaps - 1 - lag)];
    }
  }
  return taps;
}
