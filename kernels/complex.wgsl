// Complex numbers as vec2<f32> of real and imaginary part, for kernels that compute with them.

/** a b, of complex numbers. */
fn times(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

/** The conjugate. */
fn conj(a: vec2<f32>) -> vec2<f32> { return vec2<f32>(a.x, -a.y); }
