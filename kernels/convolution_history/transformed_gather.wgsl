// Lays the inputs of sums out as channels, with zeros in the place of outputs: a sum's rows are the positions from its first
// input to its last output. A tile of 32 rows by 32 channels goes through workgroup memory, so that both sides are read
// and written along lines.
// history [slots][WORDS]; signal f32 [channels][SIGNAL_STRIDE].
// Grid: x = ceil(rows of the longest / 32), y = ceil(WIDTH / 32), z = sums; 256 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> signal: array<f32>;
@group(0) @binding(2) var<storage, read> history: array<u32>;

/** [row][channel], a column more than there are, so that a channel's rows lie in different banks. */
var<workgroup> tile: array<f32, 32 * 33>;

//#stored

fn inputAt(table: u32, position: u32, channel: u32, known: bool) -> f32 {
    if (!known) { return 0.0; }
    let slot = control[table + position / BLOCK_SIZE] * BLOCK_SIZE + position % BLOCK_SIZE;
    return stored(slot, channel);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let record = TRANSFORMS + group.z * TRANSFORM_WORDS;
    let firstInput = control[record];
    let endInput = control[record + 1u];
    let table = BLOCK_TABLES + control[record + 4u] / 2u * BLOCK_TABLE_STRIDE;
    let firstRow = control[TRANSFORM_STARTS + group.z];
    let numRows = control[TRANSFORM_STARTS + group.z + 1u] - firstRow;
    let lane = thread % 32u;
    let line = thread / 32u;
    {
        let channel = 32u * group.y + lane;
        //#read
    }
    workgroupBarrier();
    {
        let row = 32u * group.x + lane;
        //#write
    }
}
