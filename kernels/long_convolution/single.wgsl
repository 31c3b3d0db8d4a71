// The long convolution of a step of single tokens: of a sequence's one row only lag 0 is left, so
// y[row][c] = after[row][c] (newest[c] x[row][c] before[row][c] + carried[row][c]).
// x, before, after, carried, y f32 [tokens][stride of each]; newest f32 [WIDTH]: the filter's taps of lag 0.
// Grid: x = ceil(WIDTH / 64), y = tokens; 64 threads.

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> newest: array<f32>;
//#operands

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.y;
    let channel = id.x;
    if (channel >= WIDTH) { return; }
    //#store
}
