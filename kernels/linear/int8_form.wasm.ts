// What the choice between the two forms of an int8 linear (int8_form.ts) is measured with: as many products of bytes, and
// as many multiply-adds of floats, as a call says, nine at a time as in linear.wasm.ts.
// AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).

/** `address`: 48 readable and writable bytes. */
export function multiplyBytes(count: i32, address: usize): void {
  const w = v128.load(address), x = v128.load(address, 16);
  let a = i32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a, i = a;
  for (; count > 0; count -= 9) {
    a = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x, a);
    b = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x, b);
    c = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x, c);
    d = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x, d);
    e = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x, e);
    f = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x, f);
    g = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x, g);
    h = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x, h);
    i = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x, i);
  }
  const abc = i32x4.add(i32x4.add(a, b), c), def = i32x4.add(i32x4.add(d, e), f);
  v128.store(address, i32x4.add(i32x4.add(abc, def), i32x4.add(i32x4.add(g, h), i)), 32);
}

export function multiplyFloats(count: i32, address: usize): void {
  const w = v128.load(address), x = v128.load(address, 16);
  let a = f32x4.splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a, i = a;
  for (; count > 0; count -= 9) {
    a = f32x4.relaxed_madd(w, x, a);
    b = f32x4.relaxed_madd(w, x, b);
    c = f32x4.relaxed_madd(w, x, c);
    d = f32x4.relaxed_madd(w, x, d);
    e = f32x4.relaxed_madd(w, x, e);
    f = f32x4.relaxed_madd(w, x, f);
    g = f32x4.relaxed_madd(w, x, g);
    h = f32x4.relaxed_madd(w, x, h);
    i = f32x4.relaxed_madd(w, x, i);
  }
  const abc = f32x4.add(f32x4.add(a, b), c), def = f32x4.add(f32x4.add(d, e), f);
  v128.store(address, f32x4.add(f32x4.add(abc, def), f32x4.add(f32x4.add(g, h), i)), 32);
}
