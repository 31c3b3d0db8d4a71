// Functions of four floats at once for the CPU kernels. AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).

/** Sum of the four lanes, in one fixed order. */
@inline
export function sumLanes(x: v128): f32 {
  return (f32x4.extract_lane(x, 0) + f32x4.extract_lane(x, 1)) +
    (f32x4.extract_lane(x, 2) + f32x4.extract_lane(x, 3));
}

@inline
export function maxLanes(x: v128): f32 {
  return max(
    max(f32x4.extract_lane(x, 0), f32x4.extract_lane(x, 1)),
    max(f32x4.extract_lane(x, 2), f32x4.extract_lane(x, 3)),
  );
}

/**
 * e^x within 1e-7 of it, relatively; beyond -87 and 88 as at these. x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its
 * Chebyshev polynomial of degree 6; 2^n by its exponent bits.
 */
@inline
export function exp4(x: v128): v128 {
  // pmax and pmin are one instruction each, and in this order let NaN through.
  const clamped = f32x4.pmin(f32x4.pmax(x, f32x4.splat(-87)), f32x4.splat(88));
  const n = f32x4.nearest(f32x4.mul(clamped, f32x4.splat(1.44269504088896341)));
  // ln 2 in two parts, so that n times the first is exact.
  let r = f32x4.sub(clamped, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.sub(r, f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  let p = f32x4.splat(1.38888889e-3);
  p = f32x4.relaxed_madd(p, r, f32x4.splat(8.33333333e-3));
  p = f32x4.relaxed_madd(p, r, f32x4.splat(4.16666667e-2));
  p = f32x4.relaxed_madd(p, r, f32x4.splat(1.66666667e-1));
  p = f32x4.relaxed_madd(p, r, f32x4.splat(0.5));
  p = f32x4.relaxed_madd(p, r, f32x4.splat(1));
  p = f32x4.relaxed_madd(p, r, f32x4.splat(1));
  const exponent = i32x4.shl(i32x4.add(i32x4.relaxed_trunc_f32x4_s(n), i32x4.splat(127)), 23);
  return f32x4.mul(p, exponent);
}

/** x (1 + tanh(u)) / 2 = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3). */
@inline
export function geluTanh4(x: v128): v128 {
  const cubic = f32x4.relaxed_madd(f32x4.mul(x, x), f32x4.splat(0.044715), f32x4.splat(1));
  const u = f32x4.mul(f32x4.mul(x, cubic), f32x4.splat(-1.5957691216));
  return f32x4.div(x, f32x4.add(f32x4.splat(1), exp4(u)));
}

/** x / (1 + e^-x) */
@inline
export function silu4(x: v128): v128 {
  return f32x4.div(x, f32x4.add(f32x4.splat(1), exp4(f32x4.neg(x))));
}

@inline
export function geluErf4(x: v128): v128 {
  const half = f32x4.mul(x, f32x4.splat(0.5));
  return f32x4.mul(half, f32x4.add(f32x4.splat(1), erf4(f32x4.mul(x, f32x4.splat(0.7071067812)))));
}

/** The two polynomials of linear/gelu.wgsl. */
@inline
function erf4(x: v128): v128 {
  const a = f32x4.pmin(f32x4.abs(x), f32x4.splat(6));
  const s = f32x4.mul(a, a);
  let p = f32x4.relaxed_madd(f32x4.splat(-0.000565410586), s, f32x4.splat(0.00492327767));
  p = f32x4.relaxed_madd(p, s, f32x4.splat(-0.0267163851));
  p = f32x4.relaxed_madd(p, s, f32x4.splat(0.112803644));
  p = f32x4.relaxed_madd(p, s, f32x4.splat(-0.376123498));
  p = f32x4.relaxed_madd(p, s, f32x4.splat(1.12837913));
  const t = f32x4.div(f32x4.splat(1), f32x4.relaxed_madd(f32x4.splat(0.5), a, f32x4.splat(1)));
  let q = f32x4.relaxed_madd(f32x4.splat(0.0731173505), t, f32x4.splat(-0.321225345));
  q = f32x4.relaxed_madd(q, t, f32x4.splat(0.357842289));
  q = f32x4.relaxed_madd(q, t, f32x4.splat(0.0503400759));
  q = f32x4.relaxed_madd(q, t, f32x4.splat(0.279642952));
  q = f32x4.relaxed_madd(q, t, f32x4.splat(0.277514985));
  q = f32x4.relaxed_madd(q, t, f32x4.splat(0.282361323));
  const tail = f32x4.sub(f32x4.splat(1), f32x4.mul(f32x4.mul(t, q), exp4(f32x4.neg(s))));
  const near = f32x4.mul(a, p);
  const magnitude = v128.bitselect(near, tail, f32x4.lt(a, f32x4.splat(1)));
  const sign = v128.and(x, i32x4.splat(0x80000000));
  return v128.or(magnitude, sign);
}
