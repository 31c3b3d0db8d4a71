// Paged causal attention of many tokens on matrix units, after FlashAttention-2 (Dao, 2023): a workgroup takes ROWS
// packed rows (token, head of a group) of one tile and goes over their keys KEYS at a time. A subgroup has FRAGMENT_M of
// the rows; their queries and output stay in its registers as fragments, keys and then values lie in workgroup memory.
// Fragments cannot be scaled by row. So exponentials are relative to a reference, which a row's largest score may pass
// by 8 (in base 2) before the row's earlier output is scaled, by way of workgroup memory; that is rare.
// queries f32 [tokens, INPUT_STRIDE]; keys, values f16 by slot (kv_layout.ts), 16 bytes a word. Queries and exponentials are
// rounded to f16, sums are f32.
// Grid: x = tiles, y = KV heads, z = ceil(packed rows of a tile / ROWS); THREADS threads.
// Reference: attentionReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> queries: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> keys: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> values: array<vec4<u32>>;
//#output
//#cache

alias Left = subgroup_matrix_left<f16, FRAGMENT_K, FRAGMENT_M>;
alias Right = subgroup_matrix_right<f16, FRAGMENT_N, FRAGMENT_K>;
alias Sum = subgroup_matrix_result<f32, FRAGMENT_N, FRAGMENT_M>;

/** Words of a head, and of a row of scores; one more of each in memory, so that rows begin in different banks. */
const HEAD_WORDS = HEAD_SIZE / 8u;
const TILE_STRIDE = HEAD_WORDS + 1u;
const PATCH_STRIDE = KEYS / 4u + 1u;
/** Lanes that share a row of scores, and the fours of scores that each has. */
const ROW_LANES = LANES / FRAGMENT_M;
const PART_QUADS = KEYS / 4u / ROW_LANES;
const FRAGMENT_WORDS = FRAGMENT_M * FRAGMENT_N / 4u;
const MASKED = -1e30f;
const MOST_GROWTH = 8.0f;

/** The queries, then keys and values in turn. */
var<workgroup> tile: array<vec4<u32>, TILE_ROWS * TILE_STRIDE>;
/** Scores as f32, then their exponentials as f16, in the end the output; FRAGMENT_M rows for each subgroup. */
var<workgroup> patches: array<vec4<u32>, ROWS * PATCH_STRIDE>;
/** A fragment of output for each subgroup, while it is scaled. */
var<workgroup> fragments: array<vec4<u32>, ROWS * FRAGMENT_N / 4u>;
/** What a row's earlier output is multiplied by. */
var<workgroup> rescale: array<f32, ROWS>;
/** The last step in which a row's reference changed. */
var<workgroup> grownStep: atomic<u32>;

/** Row of the activations that packed row `packed` of the tile belongs to. */
fn tokenOf(firstRow: u32, packed: u32) -> u32 { return firstRow + packed / GROUP; }

/** Word `word` of a key or value of the sequence; in place of those that it does not have, the last. */
fn cacheAt(blockTable: u32, position: u32, numKeys: u32, kvHead: u32, word: u32) -> u32 {
    let present = min(position, numKeys - 1u);
    let slot = control[blockTable + present / BLOCK_SIZE] * BLOCK_SIZE + present % BLOCK_SIZE;
    return kvAt(slot, kvHead * HEAD_SIZE + 8u * word) / 8u;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    // The last tiles of a prompt have the most keys, so they go first.
    let record = TILES + (control[NUM_TILES] - 1u - group.x) * TILE_WORDS;
    let blockTable = BLOCK_TABLES + control[record] * BLOCK_TABLE_STRIDE;
    let firstRow = control[record + 1u];
    let packedRows = control[record + 2u] * GROUP;
    let kvHead = group.y;
    let firstPacked = group.z * ROWS;
    if (firstPacked >= packedRows) { return; }
    let lastPacked = min(firstPacked + ROWS, packedRows) - 1u;
    let numKeys = control[POSITIONS + tokenOf(firstRow, lastPacked)] + 1u;
    let fewestKeys = control[POSITIONS + tokenOf(firstRow, firstPacked)] + 1u;
    let steps = (numKeys + KEYS - 1u) / KEYS;
    //#firstStep

    // Rows beyond the last are the last again, and are not stored.
    for (var place = thread; place < ROWS * HEAD_WORDS; place += THREADS) {
        let row = place / HEAD_WORDS;
        let word = place % HEAD_WORDS;
        let packed = min(firstPacked + row, lastPacked);
        let head = kvHead * GROUP + packed % GROUP;
        let at = (tokenOf(firstRow, packed) * INPUT_STRIDE + head * HEAD_SIZE) / 4u + 2u * word;
        tile[row * TILE_STRIDE + word] = vec4<u32>(packHalves(queries[at]), packHalves(queries[at + 1u]));
    }
    if (thread == 0u) { atomicStore(&grownStep, 0u); }
    //#held
    {
        let position = firstStep * KEYS;
        //#loadKeys
    }
    workgroupBarrier();
    let tileRow = subgroup * FRAGMENT_M;
    let patchAt = tileRow * PATCH_STRIDE;
    let fragmentAt = subgroup * FRAGMENT_WORDS;
    //#queries
    workgroupBarrier();
    //#keep

    let softmaxRow = tileRow + lane / ROW_LANES;
    let part = lane % ROW_LANES;
    let scoresAt = softmaxRow * PATCH_STRIDE + part * PART_QUADS;
    let limit = control[POSITIONS + tokenOf(firstRow, min(firstPacked + softmaxRow, lastPacked))] + 1u;
    var reference = MASKED;
    var laneSum = 0.0;
    //#outputs

    for (var step = firstStep; step < steps; step++) {
        let firstKey = step * KEYS;
        workgroupBarrier();
        {
            let position = firstKey;
            //#loadValues
        }
        //#scores
        workgroupBarrier();
        //#keep
        if (step + 1u < steps) {
            let position = firstKey + KEYS;
            //#loadKeys
        }

        //#readScores
        if (firstKey + KEYS > fewestKeys) {
            let key = vec4<u32>(firstKey + part * PART_QUADS * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
            //#mask
        }
        //#maskWindow
        //#largest
        var scale = 1.0;
        if (largest > reference + MOST_GROWTH) {
            scale = exp2(reference - largest);
            reference = largest;
            laneSum *= scale;
            if (step > firstStep) { atomicStore(&grownStep, step); }
        }
        if (part == 0u) { rescale[softmaxRow] = scale; }
        //#exponentials
        workgroupBarrier();
        if (step > firstStep && atomicLoad(&grownStep) == step) {
            //#rescale
        }
        //#accumulate
        workgroupBarrier();
        //#keep
    }

    //#total
    if (part == 0u) { rescale[softmaxRow] = 1.0 / total; }
    //#store
}
