// Joins the splits of split.wgsl (or split_matrix.wgsl): the output of a row from what each of its splits contributes.
// Partials, sums and output as described there; a single row may be left as whole numbers (linear/whole_numbers.ts), with
// output bound as u32.
// Grid: x = ceil(NUM_HEADS * HEAD_QUADS / 64), y = tokens; 64 threads. Reference: attentionReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> splitSums: array<vec2<f32>>;
//#mergedQuad
//#output

@compute @workgroup_size(64)
fn main(
    @builtin(global_invocation_id) id: vec3<u32>,
    //#builtins
) {
    let head = id.x / HEAD_QUADS;
    let quad = id.x % HEAD_QUADS;
    let isPresent = head < NUM_HEADS;
    let value = mergedQuad(id.y, min(head, NUM_HEADS - 1u), quad);
    //#leave
    if (!isPresent) { return; }
    storeOutput(id.y, head, quad, value);
}
