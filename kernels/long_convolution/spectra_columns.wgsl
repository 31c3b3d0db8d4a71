// The first half of the spectra of filters too long for one workgroup: columns, as in columns.wgsl, of taps instead of
// tokens.
// source f32 [filters][STRIDE], of which TAPS are read; rows complex [filters][ROW_COUNT][ROW_POINTS]; turns as in columns.wgsl.
// Grid: x = ROW_POINTS / 64, y = filters; 64 threads.

@group(0) @binding(0) var<storage, read> source: array<f32>;
@group(0) @binding(1) var<storage, read_write> rows: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> turns: array<vec2<f32>>;
//#declarations

fn sample(first: u32, tap: u32, length: u32) -> f32 {
    if (tap >= length) { return 0.0; }
    return source[first + tap];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let length = TAPS;
    let column = 64u * group.x + thread;
    let first = group.y * STRIDE;
    let at = group.y * ROW_COUNT * ROW_POINTS + column;
    //#transform
}
