// Puts each new row's K and V into its slot of the paged cache in int8, before anything attends: of every head the scales
// of its groups of columns, the largest magnitude over 127, then its elements over their scale, rounded.
// x f32 [tokens, INPUT_STRIDE], a row [q of all heads | k of all KV heads | v of all KV heads]; caches
// [slots][NUM_KV_HEADS][HEAD_WORDS]: HEAD_SCALES f32 scales, then four i8 a word, zero beyond the head.
// Grid: x = 2 * NUM_KV_HEADS (the heads of K, then of V), z * 65535 + y = tokens; 64 threads, a workgroup a head.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> keys: array<u32>;
@group(0) @binding(3) var<storage, read_write> values: array<u32>;

const HEAD_QUADS = HEAD_WORDS - HEAD_SCALES;

/** The largest magnitude of every four. */
var<workgroup> largest: array<f32, HEAD_QUADS>;

/** Four columns of the head that starts at `first`; zero beyond it. */
fn quadAt(first: u32, quad: u32) -> vec4<f32> {
    let column = vec4<u32>(4u * quad) + vec4<u32>(0u, 1u, 2u, 3u);
    let at = vec4<u32>(first) + min(column, vec4<u32>(HEAD_SIZE - 1u));
    let value = vec4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]);
    return select(vec4<f32>(), value, column < vec4<u32>(HEAD_SIZE));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let token = group.z * 65535u + group.y;
    if (token >= control[NUM_TOKENS]) { return; }
    let first = token * INPUT_STRIDE + FIRST_KEY + group.x * HEAD_SIZE;
    for (var quad = thread; quad < HEAD_QUADS; quad += 64u) {
        let value = abs(quadAt(first, quad));
        largest[quad] = max(max(value.x, value.y), max(value.z, value.w));
    }
    workgroupBarrier();
    let at = (control[SLOT_MAPPING + token] * NUM_KV_HEADS + group.x % NUM_KV_HEADS) * HEAD_WORDS;
    let isKey = group.x < NUM_KV_HEADS;
    for (var quad = thread; quad < HEAD_QUADS; quad += 64u) {
        let firstOfGroup = quad / GROUP_QUADS * GROUP_QUADS;
        var most = 0.0;
        for (var i = firstOfGroup; i < min(firstOfGroup + GROUP_QUADS, HEAD_QUADS); i++) { most = max(most, largest[i]); }
        let scale = most / 127.0;
        let inverse = select(0.0, 1.0 / scale, scale > 0.0);
        let whole = clamp(round(quadAt(first, quad) * inverse), vec4<f32>(-127.0), vec4<f32>(127.0));
        let bytes = vec4<u32>(vec4<i32>(whole)) & vec4<u32>(0xffu);
        if (quad == firstOfGroup) { store(isKey, at + quad / GROUP_QUADS, bitcast<u32>(scale)); }
        store(isKey, at + HEAD_SCALES + quad, bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u));
    }
}

fn store(isKey: bool, at: u32, word: u32) {
    if (isKey) { keys[at] = word; } else { values[at] = word; }
}
