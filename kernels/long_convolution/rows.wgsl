// Second of three passes: one row of a channel's spectrum by one workgroup, in place: its transform, the product with the
// filter's spectrum, which lies in the same order, and the inverse.
// rows as in columns.wgsl; products complex [channels of the slice][COLUMN_POINTS / 2 + 1][ROW_POINTS], as
// spectra_rows.wgsl leaves them.
// Grid: x = ROW_COUNT rows, y = channels of the slice, z = sequences; THREADS threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> rows: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> products: array<vec2<f32>>;
@group(0) @binding(3) var<uniform> slice: Slice;
//#fft

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let firstRow = control[STARTS + group.z];
    let length = control[STARTS + group.z + 1u] - firstRow;
    if (length < FEWEST || length > MOST) { return; }
    let at = ((firstRow / FEWEST * slice.numChannels + group.y) * ROW_COUNT + group.x) * ROW_POINTS;
    let firstProduct = (group.y * ROW_COUNT + group.x) * ROW_POINTS;
    //#registers
    //#load
    // Two, but no constant: Mesa would write both turns out, and compile for seconds.
    let turns = min(2u, 2u * length);
    for (var turn = 0u; turn < turns; turn++) {
        //#transform
        if (turn == 0u) {
            //#product
        }
    }
    //#store
}
