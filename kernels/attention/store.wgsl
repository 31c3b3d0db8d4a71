// Puts each new row's K and V into its slot of the paged cache, before anything attends.
// x f32 [tokens, INPUT_STRIDE], a row [q of all heads | k of all KV heads | v of all KV heads]; caches
// words of f32 or of two f16, WORDS_PER_ROW for each slot, in the order of kv_layout.ts. A thread owns whole words, so no two
// write the same one.
// Grid: x = ceil(WORDS_PER_ROW / 64), z * 65535 + y = tokens; 64 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> keys: array<u32>;
@group(0) @binding(3) var<storage, read_write> values: array<u32>;

/** Element `column` of a row's K or V, which starts at `first`; zero in the padding of rows of odd width. */
fn element(row: u32, first: u32, column: u32) -> f32 {
    return select(0.0, x[row * INPUT_STRIDE + first + min(column, KV_WIDTH - 1u)], column < KV_WIDTH);
}

//#packWord
//#cache

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let token = id.z * 65535u + id.y;
    if (id.x >= WORDS_PER_ROW || token >= control[NUM_TOKENS]) { return; }
    let at = kvAt(control[SLOT_MAPPING + token], id.x * PER_WORD) / PER_WORD;
    keys[at] = packWord(token, FIRST_KEY, id.x);
    values[at] = packWord(token, FIRST_VALUE, id.x);
}
