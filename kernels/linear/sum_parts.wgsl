// Adds up the parts of a linear whose depth was split, in ascending order: y[r][n] = epilogue(sum over parts).
// partials f32 [parts][rows up to whole tiles][PARTIAL_QUADS * 4], by matrix.wgsl; the rest as there.
// Grid: x = ceil(SHARD_QUADS / 64), y = rows; 64 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>;
//#epilogue
//#parts

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let quad = group.x * 64u + thread;
    let row = group.y;
    if (quad >= SHARD_QUADS) { return; }
    let tilesDown = (control[NUM_ROWS] + ROWS - 1u) / ROWS;
    let parts = partsOf(tilesDown);
    var at = row * PARTIAL_QUADS + quad;
    var sum = vec4<f32>();
    for (var part = 0u; part < parts; part++) {
        sum += partials[at];
        at += tilesDown * ROWS * PARTIAL_QUADS;
    }
    let column = FIRST_COLUMN + 4u * quad;
    finish(row * OUTPUT_QUADS + column / 4u, termsOf(column), sum);
}
