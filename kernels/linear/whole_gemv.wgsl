// linear of one row by a weight in int4 or int8, in whole numbers (fixed_point.ts): bound by reading the weight, and by what
// has to be done to it.
// x f32 [row] (or as whole_numbers.ts leaves it), weight [SHARD_ROWS, row] as WORDS_PER_ROW words of 16 bytes. A team of
// LANES threads works on TEAM_ROWS weight rows at once, PARTS teams share a row: a thread has the same words of every
// row, and so keeps its share of x in registers. It does so BLOCKS times over, for further rows, whose words it asks for
// as soon as those before are multiplied. At last a thread for every output joins the parts.
// Grid: x = ceil(SHARD_ROWS / COLUMNS), THREADS threads. Reference: linearReference, of layerNormReference where fused.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<X>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
//#access
//#fixedPoint
//#stage
//#epilogue

const TEAMS = THREADS / LANES;
/** Output columns of a block, and of a workgroup. */
const BLOCK_COLUMNS = TEAMS / PARTS * TEAM_ROWS;
const COLUMNS = BLOCKS * BLOCK_COLUMNS;
/** Threads that share a row's words. */
const ROW_LANES = PARTS * LANES;

/** [blocks][teams][weight rows] */
var<workgroup> sums: array<f32, COLUMNS * PARTS>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(subgroup_id) team: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let thread = team * LANES + lane;
    let firstColumn = group.x * COLUMNS + team / PARTS * TEAM_ROWS;
    let rowLane = team % PARTS * LANES + lane;

    // The output that this thread finishes; what it adds to the product is on its way meanwhile.
    let outputColumn = group.x * COLUMNS + thread;
    let finishes = thread < COLUMNS && outputColumn < SHARD_ROWS;
    let outputAt = FIRST_COLUMN + min(outputColumn, SHARD_ROWS - 1u);
    let terms = termsOf(outputAt, outputAt);

    //#product
    workgroupBarrier();
    if (finishes) {
        let firstSum = (thread / BLOCK_COLUMNS * TEAMS + thread % BLOCK_COLUMNS / TEAM_ROWS * PARTS) * TEAM_ROWS +
            thread % TEAM_ROWS;
        var sum = sums[firstSum];
        //#joinParts
        //#finish
    }
    //#leave
}
