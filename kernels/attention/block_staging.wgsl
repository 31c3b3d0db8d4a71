// Blocks of one layer's K and V, or of its history alone, to and from staging memory, where all
// layers of a block lie together; four words a thread and turn. A block of each matrix has
// QUADS x 16 bytes. staging: for each block of `blocks` STRIDE quads, of which layer.x is the first
// of this layer's first matrix; V follows K.
// Grid: x = blocks, y = 0 for K or a history, 1 for V.

@group(0) @binding(0) var<storage, read_write> key: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> value: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> staging: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> blocks: array<u32>;
@group(0) @binding(4) var<uniform> layer: vec4<u32>;

@compute @workgroup_size(64)
fn park(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let cached = blocks[group.x] * QUADS;
    let staged = group.x * STRIDE + layer.x + group.y * QUADS;
    for (var quad = thread; quad < QUADS; quad += 64u) {
        if (group.y == 0u) { staging[staged + quad] = key[cached + quad]; }
        else { staging[staged + quad] = value[cached + quad]; }
    }
}

@compute @workgroup_size(64)
fn unpark(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let cached = blocks[group.x] * QUADS;
    let staged = group.x * STRIDE + layer.x + group.y * QUADS;
    for (var quad = thread; quad < QUADS; quad += 64u) {
        if (group.y == 0u) { key[cached + quad] = staging[staged + quad]; }
        else { value[cached + quad] = staging[staged + quad]; }
    }
}
