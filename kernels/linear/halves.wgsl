// Rounds rows of f32 to f16, as matrix units read them: halves [rows, HALVES_WORDS * 8] of x [rows, 4 * X_QUADS], zero
// beyond the width of x. Grid: x = ceil(HALVES_WORDS / 64), y = rows; 64 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> halves: array<vec4<u32>>;

//#pack

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let word = group.x * 64u + thread;
    let row = group.z * 65535u + group.y;
    if (word >= HALVES_WORDS || row >= control[NUM_ROWS]) { return; }
    let at = row * X_QUADS + 2u * word;
    var packed = vec4<u32>();
    if (2u * word < X_QUADS) { packed = vec4<u32>(packHalves(x[at]), packHalves(x[at + 1u])); }
    halves[row * HALVES_WORDS + word] = packed;
}
