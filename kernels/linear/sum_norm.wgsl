// Adds up the parts of a linear whose depth was split, and normalises the row: output[r] = the linear's own result, and
// halves[r] = layerNorm(output[r]) in f16. partials f32 [parts][rows up to whole tiles][PARTIAL_QUADS * 4], by matrix.wgsl;
// output f32 [rows, OUTPUT_QUADS * 4], halves f16 [rows, HALVES_QUADS * 4], both zero beyond their width.
// Grid: rows, folded at 65535 into y. One workgroup of THREADS a row. Reference: linearReference, layerNormReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> halves: array<vec2<u32>>;
//#terms
//#parts
//#row

fn summed(row: u32, quad: u32, tilesDown: u32) -> vec4<f32> {
    let parts = partsOf(tilesDown);
    let terms = termsOf(4u * quad);
    // Partial sums may end before the output's padding does; what is read there counts for nothing.
    var at = row * PARTIAL_QUADS + min(quad, PARTIAL_QUADS - 1u);
    var sum = vec4<f32>();
    for (var part = 0u; part < parts; part++) {
        sum += partials[at];
        at += tilesDown * ROWS * PARTIAL_QUADS;
    }
    return finished(row * OUTPUT_QUADS + quad, terms, sum);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    //#builtins
) {
    //#place
    let row = group.y * 65535u + group.x;
    if (row >= control[NUM_ROWS]) { return; }
    let tilesDown = (control[NUM_ROWS] + ROWS - 1u) / ROWS;
    //#loads
    //#normalise
    //#store
}
