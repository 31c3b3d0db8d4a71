// What keeps free long filters simple (Fu et al. 2023, "Simple hardware-efficient long convolutions";
// long_conv_flash_butterfly.md section 1): taps are smoothed and drawn towards zero when a model is loaded.

/** Each tap nearer to zero by `threshold`, those within it exactly zero. */
export function squash(taps: ArrayLike<number>, threshold: number): Float64Array {
  return Float64Array.from(taps, (tap) => Math.sign(tap) * Math.max(Math.abs(tap) - threshold, 0));
}

/**
 * Mean of each tap and its neighbours, `window` of them (odd); beyond both ends there are zeros, which count.
 * @param taps of one filter
 */
export function smooth(taps: ArrayLike<number>, window: number): Float64Array {
  const reach = (window - 1) / 2;
  return Float64Array.from(taps, (_, i) => {
    let sum = 0;
    for (let j = Math.max(0, i - reach); j <= Math.min(taps.length - 1, i + reach); j++) sum += taps[j];
    return sum / window;
  });
}
