// The convolution of one channel of one sequence by one workgroup, in place, for lengths of FEWEST to MOST tokens: a real
// transform of twice MOST points, packed as MOST complex ones (even tokens real, odd ones imaginary), the product with
// the filter's spectrum, and the inverse. Between load and store nothing leaves the workgroup.
// signal f32 [channels][SIGNAL_STRIDE], a sequence's tokens where its rows are; products of this slice's channels, as
// spectra_whole.wgsl makes them, [MOST / 2 + 1] each, 1 / MOST in them.
// Grid: x = channels of the slice, y = sequences; THREADS threads. Reference: longConvolutionReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> signal: array<f32>;
@group(0) @binding(2) var<storage, read> products: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> slice: Slice;
//#fft

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let firstRow = control[STARTS + group.y];
    let length = control[STARTS + group.y + 1u] - firstRow;
    if (length < FEWEST || length > MOST) { return; }
    let first = (slice.firstChannel + group.x) * SIGNAL_STRIDE + firstRow;
    let firstProduct = group.x * (MOST / 2u + 1u);
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
