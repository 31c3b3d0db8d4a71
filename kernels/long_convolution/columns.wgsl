// First of three passes of a convolution too long for one workgroup: a real transform of 2 MOST points, seen as
// COLUMN_POINTS rows of ROW_POINTS, whose columns are transformed here, one a thread, in registers. The second half of a
// column is padding. Of a column's spectrum the second half mirrors the first and is left out; the factors between the
// two dimensions are in what is stored, and so is a factor of 2, which the products take out again.
// signal f32 [channels][SIGNAL_STRIDE]; rows complex [places][channels of the slice][COLUMN_POINTS / 2 + 1][ROW_POINTS],
// where a sequence's place follows from its first row, since none of this class is shorter than FEWEST.
// Grid: x = ROW_POINTS / 64, y = channels of the slice, z = sequences; 64 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> signal: array<f32>;
@group(0) @binding(2) var<storage, read_write> rows: array<vec2<f32>>;
@group(0) @binding(3) var<uniform> slice: Slice;
/** e^(-2πi column / (2 MOST)) */
@group(0) @binding(4) var<storage, read> turns: array<vec2<f32>>;
//#declarations

fn sample(first: u32, token: u32, length: u32) -> f32 {
    if (token >= length) { return 0.0; }
    return signal[first + token];
}

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
