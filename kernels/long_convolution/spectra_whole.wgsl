// The spectrum of one filter by one workgroup, as convolutions of up to MOST tokens multiply by it: a real transform of
// twice MOST points, packed as MOST complex ones (even taps real, odd ones imaginary), the second half of them padding.
// With ẑ the packed transform, E[k] = (ẑ[k] + conj ẑ[MOST - k]) / 2 and O[k] = (ẑ[k] - conj ẑ[MOST - k]) / 2i are those of
// even and of odd taps, and the filter's are E[k] + e^(-πik/MOST) O[k]. The product of a packed signal with a filter is
// (S - D sin(πk/MOST)) x̂[k] + i D cos(πk/MOST) conj x̂[MOST - k], where S = E[k] and D = e^(-πik/MOST) O[k]: a record is S and D
// over MOST, which the inverse transform leaves out.
// source f32 [filters][STRIDE], of which TAPS are read; table [filters][MOST / 2 + 1] of [re S, im S, re D, im D].
// Grid: x = filters; THREADS threads. Reference: longConvolutionReference, by way of whole.wgsl.

@group(0) @binding(0) var<storage, read> source: array<f32>;
@group(0) @binding(1) var<storage, read_write> table: array<vec4<f32>>;
//#fft

fn store(firstRecord: u32, k: u32, a: vec2<f32>, b: vec2<f32>) {
    let scale = 0.5 / f32(MOST);
    let even = scale * (a + b);
    let odd = scale * vec2<f32>(a.y - b.y, b.x - a.x);
    table[firstRecord + k] = vec4<f32>(even, times(twiddles[k], odd));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = group.x * STRIDE;
    let firstRecord = group.x * (MOST / 2u + 1u);
    //#registers
    //#load
    //#transform
    //#store
}
