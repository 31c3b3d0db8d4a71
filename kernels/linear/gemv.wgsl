// linear for up to MAX_ROWS rows: bound by reading the weight, so laid out for wide loads, many in flight.
// x f32 [rows, row], weight [SHARD_ROWS, row] in f32, f16, i8 or i4 as WORDS_PER_ROW words; both zero beyond their
// width. A team of LANES threads works on TEAM_ROWS weight rows at once, PARTS teams share a row's words: lane i of
// the PARTS * LANES takes words i, i + PARTS * LANES, ... Then each team adds up, through the subgroup or through
// workgroup memory, and a thread for every output joins the parts. Where x has to be made (normalised, joined from an
// attention's splits), it is brought into workgroup memory while the first words of the weight are on their way.
// Grid: x = ceil(SHARD_ROWS / COLUMNS), THREADS threads. Reference: linearReference, of layerNormReference where fused.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<Word>;
//#word
//#access
//#stage
//#epilogue

const TEAMS = THREADS / LANES;
/** Sums of a team. */
const VALUES = TEAM_ROWS * MAX_ROWS;
/** Output columns of a workgroup. */
const COLUMNS = TEAMS / PARTS * TEAM_ROWS;
/** Sums to join for an output. */
const SHARES = PARTS * SUM_SHARES;
/** Threads that share a row's words. */
const ROW_LANES = PARTS * LANES;

/** A team's sums, in SUM_SHARES: row of x, then weight row. */
var<workgroup> sums: array<f32, TEAMS * SUM_SHARES * VALUES>;
//#memory

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    //#threads
) {
    let numRows = control[NUM_ROWS];
    //#place
    let firstColumn = (group.x * (TEAMS / PARTS) + team / PARTS) * TEAM_ROWS;
    let rowLane = team % PARTS * LANES + lane;

    // The output that this thread finishes; what it adds to the product is on its way meanwhile.
    let outputRow = thread / COLUMNS;
    let outputColumn = group.x * COLUMNS + thread % COLUMNS;
    let finishes = outputRow < min(numRows, MAX_ROWS) && outputColumn < SHARD_ROWS;
    let outputAt = min(outputRow, numRows - 1u) * OUTPUT_STRIDE + FIRST_COLUMN + min(outputColumn, SHARD_ROWS - 1u);
    let terms = termsOf(outputAt, FIRST_COLUMN + min(outputColumn, SHARD_ROWS - 1u));

    //#accumulators
    //#product
    //#reduce
    workgroupBarrier();
    if (finishes) {
        let firstSum = thread % COLUMNS / TEAM_ROWS * SHARES * VALUES + outputRow * TEAM_ROWS + thread % TEAM_ROWS;
        var sum = sums[firstSum];
        //#joinShares
        finish(outputAt, terms, sum);
    }
}
