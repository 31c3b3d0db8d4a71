// Both forms of GELU. Reference: activate() in reference.ts.

// tanh of a large argument overflows on some drivers; beyond 10 it is 1 in f32 anyway.
fn geluTanh(x: f32) -> f32 {
    let inner = 0.7978845608 * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1.0 + tanh(clamp(inner, -10.0, 10.0)));
}

fn geluErf(x: f32) -> f32 {
    return 0.5 * x * (1.0 + erf(x * 0.7071067812));
}

// WGSL has no erf. Below 1, x P(x^2); above, 1 - t Q(t) exp(-x^2) with t = 1 / (1 + x / 2). P and Q were fitted for
// this file at Chebyshev nodes (on [0, 1] and [1, 6]); the whole is within 1.1e-7 of erf when evaluated in f32.
fn erf(x: f32) -> f32 {
    let a = min(abs(x), 6.0);
    let s = a * a;
    let p = fma(fma(fma(fma(fma(-0.000565410586, s, 0.00492327767), s, -0.0267163851), s, 0.112803644), s,
        -0.376123498), s, 1.12837913);
    let t = 1.0 / fma(0.5, a, 1.0);
    let q = fma(fma(fma(fma(fma(fma(0.0731173505, t, -0.321225345), t, 0.357842289), t, 0.0503400759), t,
        0.279642952), t, 0.277514985), t, 0.282361323);
    return sign(x) * select(1.0 - t * q * exp(-s), a * p, a < 1.0);
}
