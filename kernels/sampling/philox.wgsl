// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Reference: philox.ts.

/** The upper word of a * b. */
fn mulHigh(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u);
}

/** Word `counter` of the stream that `seed` names. */
fn randomWord(seed: vec2<u32>, counter: u32) -> u32 {
    var key = seed;
    var block = vec4<u32>(counter, 0u, 0u, 0u);
    for (var round = 0u; round < 10u; round++) {
        let high0 = mulHigh(0xd2511f53u, block.x);
        let high1 = mulHigh(0xcd9e8d57u, block.z);
        block = vec4<u32>(
            high1 ^ block.y ^ key.x,
            0xcd9e8d57u * block.z,
            high0 ^ block.w ^ key.y,
            0xd2511f53u * block.x,
        );
        key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return block.x;
}
