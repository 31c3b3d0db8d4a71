// Last of three passes: the inverse transforms of columns, one a thread, of which only the first half, the tokens, is
// stored. Buffers as in columns.wgsl.
// Grid: x = ROW_POINTS / 64, y = channels of the slice, z = sequences; 64 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> signal: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<vec2<f32>>;
@group(0) @binding(3) var<uniform> slice: Slice;
@group(0) @binding(4) var<storage, read> turns: array<vec2<f32>>;
//#declarations

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let firstRow = control[STARTS + group.z];
    let length = control[STARTS + group.z + 1u] - firstRow;
    if (length < FEWEST || length > MOST) { return; }
    let column = 64u * group.x + thread;
    let first = (slice.firstChannel + group.y) * SIGNAL_STRIDE + firstRow;
    let at = (firstRow / FEWEST * slice.numChannels + group.y) * ROW_COUNT * ROW_POINTS + column;
    //#transform
}
