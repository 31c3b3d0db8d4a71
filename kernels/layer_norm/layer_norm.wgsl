// layerNorm: y = (x - mean) / sqrt(var + EPSILON) * scale + bias over each row, biased variance.
// x, y f32 [rows, 4 * ROW_QUADS], zero beyond their width; scale, bias f32 [width].
// With as many rows as half values have, y goes to halves f16 instead; a single row may be left as whole numbers
// (linear/whole_numbers.ts), with y bound as u32.
// Grid: x = rows, folded at 65535 into y. One workgroup of THREADS a row. Reference: layerNormReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
//#output
//#row
//#halves

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    //#builtins
) {
    //#place
    let row = group.y * 65535u + group.x;
    if (row >= control[NUM_ROWS]) { return; }
    //#loads
    //#normalise
    //#store
}
