// Where sums that are made online are kept.

/** WGSL: the element of a position's sum, in f32 [places][WINDOW][WIDTH]. */
export const KEPT_AT = `fn keptAt(sequence: u32, position: u32, channel: u32) -> u32 {
    return (control[ONLINE_PLACES + sequence] * WINDOW + position % WINDOW) * WIDTH + channel;
}`;
