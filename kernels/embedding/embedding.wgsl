// embedding: y[r] = table[tokenIds[r]] + positionTable[positions[r]], four elements a thread.
// table [SHARD_ROWS, 4 * ROW_QUADS] in f32, f16 or i8: the shard that begins at token FIRST_ROW; the position table
// likewise, in a storage of its own. y f32 [tokens, 4 * ROW_QUADS]. Rows whose token or position lies in another shard
// are left to that shard's call. Padding of the tables is zero, and so is y's.
// A token id from FIRST_DRAWN on names a sample of the step before, whose token is still in `drawn`.
// Grid: x = ceil(ROW_QUADS / 64), y = tokens folded at 65535 into z. Reference: embeddingReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> drawn: array<u32>;
//#lookups

fn tokenOf(row: u32) -> u32 {
    let id = control[TOKEN_IDS + row];
    if (id < FIRST_DRAWN) { return id; }
    return drawn[id - FIRST_DRAWN];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.z * 65535u + group.y;
    let quad = group.x * 64u + thread;
    if (row >= control[NUM_TOKENS] || quad >= ROW_QUADS) { return; }
    var sum = vec4<f32>();
    //#add
    y[row * ROW_QUADS + quad] = sum;
}
