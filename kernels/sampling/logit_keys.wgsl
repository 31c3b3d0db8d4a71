// Logits as u32 keys of the same order, so that maxima and thresholds are found by integer arithmetic and NaN can do no
// harm. Key 0 is what never wins: NaN. Infinities count as the largest finite numbers.

const LARGEST_FINITE = 0x7f7fffffu;

fn keyOf(bits: u32) -> u32 {
    let magnitude = min(bits & 0x7fffffffu, LARGEST_FINITE);
    let positive = bits >> 31u == 0u || magnitude == 0u;
    let isNan = (bits & 0x7fffffffu) > 0x7f800000u;
    return select(select(~(magnitude | 0x80000000u), magnitude | 0x80000000u, positive), 0u, isNan);
}

/** The number that `key` was made from; the least finite number for NaN. */
fn valueOf(key: u32) -> f32 {
    let negative = ~max(key, ~(LARGEST_FINITE | 0x80000000u));
    return bitcast<f32>(select(negative, key & 0x7fffffffu, key >> 31u == 1u));
}

/** Whether logit (key, id) stands before the other one: by key, then by the lower id. */
fn before(key: u32, id: u32, otherKey: u32, otherId: u32) -> bool {
    return key > otherKey || (key == otherKey && id < otherId);
}
