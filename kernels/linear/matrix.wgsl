// linear on matrix units: y[r][n] = epilogue(sum over k of x[r][k] * weight[n][k]), one ROWS x COLUMNS tile of y a
// workgroup, of which each subgroup has a part that stays in its registers as f32 fragments; or several subgroups share a
// part, each with slices of the depth, and add up in the end.
// x f16 [rows up to whole tiles, X_WORDS * 8], zero beyond its width (half_values.ts); weight f16, i8 or i4
// [SHARD_ROWS, whole 16 bytes], one shard, whose row 0 is output column FIRST_COLUMN. Words are 16 bytes.
// Depths of DEPTH go through workgroup memory; the next AHEAD of them are on their way from global memory meanwhile.
// Grid: x = ceil(SHARD_ROWS / COLUMNS), y = ceil(rows / ROWS), z = parts of the depth, whose sums sum_parts.wgsl or
// sum_norm.wgsl adds up; THREADS threads. Reference: linearReference, with x rounded to f16. How an output's sum is divided
// follows the number of rows.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>;
//#access
//#epilogue
//#unpack

alias Left = subgroup_matrix_left<f16, FRAGMENT_K, FRAGMENT_M>;
alias Right = subgroup_matrix_right<f16, FRAGMENT_N, FRAGMENT_K>;
alias Sum = subgroup_matrix_result<f32, FRAGMENT_N, FRAGMENT_M>;
/** Fragments of rows of x, and of rows of the weight, which are columns of y. */
//#fragments

/** Words of a row of halves, and one more: rows that are read at once then lie in different banks. */
const STRIDE = DEPTH / 8u + 1u;
const WEIGHT_TILE = ROWS * STRIDE;
/** Words of a row of a subgroup's finished sums, and one more. */
const PATCH_STRIDE = SUBGROUP_COLUMNS / 4u + 1u;
const PATCH_QUADS = SUBGROUP_COLUMNS / 4u;

/** The tile of x, then that of the weight; in the end a patch of sums for each subgroup. */
var<workgroup> memory: array<vec4<u32>, MEMORY_WORDS>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) tile: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let numRows = control[NUM_ROWS];
    let subgroupRow = subgroup / SUBGROUPS_ACROSS % SUBGROUPS_DOWN * SUBGROUP_ROWS;
    let subgroupColumn = subgroup % SUBGROUPS_ACROSS * SUBGROUP_COLUMNS;
    let deep = subgroup / (SUBGROUPS_ACROSS * SUBGROUPS_DOWN);
    //#deep
    //#range
    //#places
    //#sums
    //#loadFirst
    for (var step = 0u; step < numSteps; step += AHEAD) {
        //#steps
    }

    let patchAt = subgroup % (SUBGROUPS_ACROSS * SUBGROUPS_DOWN) * FRAGMENT_ROWS * PATCH_STRIDE;
    let quad = (deep * LANES + lane) % PATCH_QUADS;
    let column = tile.x * COLUMNS + subgroupColumn + 4u * quad;
    let terms = termsOf(FIRST_COLUMN + column);
    //#store
}
