// The second half of the spectra of filters too long for one workgroup: rows, in place, times what the transforms of a
// convolution leave out.
// rows complex [filters][ROW_COUNT][ROW_POINTS].
// Grid: x = ROW_COUNT rows, y = filters; THREADS threads. Reference: longConvolutionReference, by way of rows.wgsl.

@group(0) @binding(0) var<storage, read_write> rows: array<vec2<f32>>;
//#fft

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.y * ROW_COUNT + group.x) * ROW_POINTS;
    //#registers
    //#load
    //#transform
    //#store
}
