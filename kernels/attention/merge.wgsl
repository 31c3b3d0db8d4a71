// Joins the splits of split.wgsl: the output of a row is the sum of the splits' outputs over the sum of their sums, each
// weighted by 2^(its largest score - the largest of all). Partials, sums and output as described there.
// Grid: x = ceil(NUM_HEADS * HEAD_QUADS / 64), y = tokens; 64 threads. Reference: attentionReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> sums: array<vec2<f32>>;
//#output

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let head = id.x / HEAD_QUADS;
    let quad = id.x % HEAD_QUADS;
    if (head >= NUM_HEADS) { return; }
    let splits = control[POSITIONS + id.y] / KEYS + 1u;
    let first = id.y * SPLITS * NUM_HEADS + head;
    var most = -1e30f;
    for (var split = 0u; split < splits; split++) { most = max(most, sums[first + split * NUM_HEADS].x); }
    var total = 0.0;
    var value = vec4<f32>();
    for (var split = 0u; split < splits; split++) {
        let part = sums[first + split * NUM_HEADS];
        let weight = exp2(part.x - most);
        total = fma(weight, part.y, total);
        value = fma(vec4<f32>(weight), partials[(first + split * NUM_HEADS) * HEAD_QUADS + quad], value);
    }
    storeOutput(id.y, head, quad, value / total);
}
