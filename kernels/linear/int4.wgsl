// Reading an int4 weight: the layout of int4.ts, and multipliers i8 [rows][groups rounded up to 4] beside it.
// Reference: unpackInt4.

/** Four q from the low 16 bits. Each nibble, moved to 0..15, is put in place into the bits of 2^23: no conversion, no shift. */
fn unpackNibbles(bits: u32) -> vec4<f32> {
    let placed = (vec4<u32>(bits) & vec4<u32>(0xfu, 0xf0u, 0xf00u, 0xf000u)) ^
        vec4<u32>(0x4b000008u, 0x4b000080u, 0x4b000800u, 0x4b008000u);
    // 2^23 + 16^i (q + 8), times 16^-i; every step is exact.
    return fma(bitcast<vec4<f32>>(placed), vec4<f32>(1.0, 0.0625, 0.00390625, 0.000244140625),
        vec4<f32>(-8388616.0, -524296.0, -32776.0, -2056.0));
}

fn multiplierOf(row: u32, group: u32, groups: u32) -> f32 {
    return multiplierIn(multipliers[row * ((groups + 3u) / 4u) + group / 4u], group);
}

/** That of a group, of the word of four that it is in. */
fn multiplierIn(word: u32, group: u32) -> f32 {
    return f32(bitcast<i32>(word << (24u - 8u * (group % 4u))) >> 24u);
}
