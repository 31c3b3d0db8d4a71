// Puts what goes into a long convolution in each new row's slot of the paged history, before anything reads it.
// x, before f32 [tokens][stride of each]; history [slots][WORDS] words of f32 or of two f16. A thread owns whole words, so
// no two write the same one.
// Grid: x = ceil(WORDS / 64), y = tokens; 64 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> history: array<u32>;
//#operands
//#packWord

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= WORDS) { return; }
    history[control[SLOT_MAPPING + id.y] * WORDS + id.x] = packWord(id.y, id.x);
}
