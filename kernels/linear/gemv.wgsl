// linear for up to MAX_ROWS (1, 2 or 4) rows: bound by reading the weight, so laid out for wide loads, many in flight.
// x f32 [rows, row], weight [SHARD_ROWS, row] in f32, f16 or i8 as WORDS_PER_ROW words of 16 bytes; both zero beyond
// their width. A team of LANES threads makes TEAM_ROWS outputs of each row of x: lane i takes words i, i + LANES, ... of
// TEAM_ROWS weight rows, then the team adds up, through the subgroup or through workgroup memory.
// Grid: x = ceil(SHARD_ROWS / (TEAM_ROWS * teams)), 128 threads. Reference: linearReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
//#epilogue
//#memory

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    //#builtins
) {
    let numRows = control[NUM_ROWS];
    //#place
    let firstColumn = (group.x * (128u / LANES) + team) * TEAM_ROWS;
    //#accumulators
    for (var step = lane; step < WORDS_PER_ROW; step += LANES * WORDS_PER_TURN) {
        //#multiply
    }
    //#reduce
    if (lane < TEAM_ROWS * MAX_ROWS) {
        let row = lane / TEAM_ROWS;
        let column = firstColumn + lane % TEAM_ROWS;
        if (row < numRows && column < SHARD_ROWS) {
            finish(row * OUTPUT_STRIDE + FIRST_COLUMN + column, FIRST_COLUMN + column, sum);
        }
    }
}
