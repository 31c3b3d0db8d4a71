// gatherRows: y[s] = x[row of sample s], four elements a thread; x, y f32 [rows, 4 * ROW_QUADS].
// Grid: x = ceil(ROW_QUADS / 64), y = samples folded at 65535 into z. Reference: gatherRowsReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let sample = group.z * 65535u + group.y;
    let quad = group.x * 64u + thread;
    if (sample >= control[NUM_SAMPLES] || quad >= ROW_QUADS) { return; }
    // The first word of a sample's record is its row.
    let row = control[SAMPLES + sample * SAMPLE_WORDS];
    y[sample * ROW_QUADS + quad] = x[row * ROW_QUADS + quad];
}
