// Attention of single new tokens over a short cache on matrix units, whole: a workgroup takes one token and FRAGMENT query
// heads of one KV head (all of them, where K and V are shared by so many), goes over the keys KEYS at a time, then over
// the values. A subgroup has FRAGMENT of a head's columns; of the scores of a tile, TILE_FRAGMENTS fragments, each is
// shared by those that have the same place among TILE_FRAGMENTS, by depth. Exponentials are relative to the largest score
// of their tile until all are known. Several tiles are on their way from the cache at any time.
// queries f32 [tokens, INPUT_STRIDE]; keys, values f16 [slots, KV_ROW], 16 bytes a word. Queries and exponentials are
// rounded to f16, sums are f32.
// Grid: x = tokens, y = KV heads * HEAD_GROUPS; THREADS threads. Reference: attentionReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> queries: array<vec4<f32>>;
//#cache
//#output
//#pack

alias Left = subgroup_matrix_left<f16, FRAGMENT, FRAGMENT>;
alias Right = subgroup_matrix_right<f16, FRAGMENT, FRAGMENT>;
alias Sum = subgroup_matrix_result<f32, FRAGMENT, FRAGMENT>;

const HEAD_WORDS = HEAD_SIZE / 8u;
/** Words of a row of the cache. */
const CACHE_STRIDE = KV_ROW / 8u;
/** Words of a row of the tile, one more than there are: rows then begin in different banks. */
const TILE_STRIDE = HEAD_WORDS + 1u;
/** Fours of a row of exponentials, and two more. */
const WEIGHT_STRIDE = MOST_TILES * KEYS / 4u + 2u;
/** Fours of a fragment, and of a row of it more. */
const PATCH_WORDS = FRAGMENT * FRAGMENT / 4u + 4u;
/** Lanes that share a row of scores, and the fours that each has. */
const ROW_LANES = THREADS / FRAGMENT;
const LANE_QUADS = KEYS / 4u / ROW_LANES;
const MASKED = -1e30f;

/** The queries, then tiles of keys, then of values. */
var<workgroup> tile: array<vec4<u32>, KEYS * TILE_STRIDE>;
/** A fragment of scores for each subgroup, then of output. */
var<workgroup> patches: array<vec4<f32>, SUBGROUPS * PATCH_WORDS>;
/** The scores' exponentials, as halves. */
var<workgroup> weights: array<vec2<u32>, FRAGMENT * WEIGHT_STRIDE>;
/** The largest score of a row in a tile, and the sum of its exponentials. */
var<workgroup> tileStats: array<vec2<f32>, FRAGMENT * MOST_TILES>;
/** The sequence's blocks. */
var<workgroup> blocks: array<u32, MOST_BLOCKS>;
/** What a row's output is multiplied by. */
var<workgroup> inverse: array<f32, FRAGMENT>;

/** Word `word` of a head of the token's queries, keys or values. */
fn activationWord(token: u32, head: u32, word: u32) -> vec4<u32> {
    let at = (token * INPUT_STRIDE + head * HEAD_SIZE) / 4u + 2u * word;
    return vec4<u32>(packHalves(queries[at]), packHalves(queries[at + 1u]));
}

/** Where a key or value of the sequence begins; in place of those that it does not have, the last. */
fn cacheAt(position: u32, context: u32, kvHead: u32) -> u32 {
    let present = min(position, context - 1u);
    return (blocks[present / BLOCK_SIZE] * BLOCK_SIZE + present % BLOCK_SIZE) * CACHE_STRIDE + kvHead * HEAD_WORDS;
}

/** The largest, and the sum, of what the lanes that share a row have. */
fn rowMost(value: f32) -> f32 {
    var most = value;
    for (var distance = 1u; distance < ROW_LANES; distance *= 2u) { most = max(most, subgroupShuffleXor(most, distance)); }
    return most;
}
fn rowSum(value: f32) -> f32 {
    var sum = value;
    for (var distance = 1u; distance < ROW_LANES; distance *= 2u) { sum += subgroupShuffleXor(sum, distance); }
    return sum;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let token = group.x;
    let blockTable = BLOCK_TABLES + control[ROW_SEQUENCE + token] * BLOCK_TABLE_STRIDE;
    let context = control[POSITIONS + token] + 1u;
    let numTiles = (context + KEYS - 1u) / KEYS;
    /** Keys' tiles up to whole turns of the registers: the values' tiles begin a turn. */
    let turnTiles = (numTiles + TILES_AHEAD - 1u) / TILES_AHEAD * TILES_AHEAD;
    let kvHead = group.y / HEAD_GROUPS;
    let firstHead = kvHead * GROUP + group.y % HEAD_GROUPS * FRAGMENT;

    if (thread * BLOCK_SIZE < context) { blocks[thread] = control[blockTable + thread]; }
    //#storeOwn
    workgroupBarrier();
    //#held
    //#loadFirst
    for (var place = thread; place < FRAGMENT * HEAD_WORDS; place += THREADS) {
        let head = place / HEAD_WORDS;
        let word = place % HEAD_WORDS;
        tile[head * TILE_STRIDE + word] = activationWord(token, firstHead + head, word);
    }
    workgroupBarrier();
    let share = subgroup / TILE_FRAGMENTS;
    let tileKeys = subgroup % TILE_FRAGMENTS * FRAGMENT;
    //#queries
    workgroupBarrier();

    let row = thread / ROW_LANES;
    let firstQuad = thread % ROW_LANES * LANE_QUADS;
    //#goOverKeys
    workgroupBarrier();

    var most = MASKED;
    for (var t = 0u; t < numTiles; t++) { most = max(most, tileStats[row * MOST_TILES + t].x); }
    var total = 0.0;
    for (var t = 0u; t < numTiles; t++) {
        let stats = tileStats[row * MOST_TILES + t];
        let factor = exp2(stats.x - most);
        total = fma(factor, stats.y, total);
        //#rescale
    }
    if (firstQuad == 0u) { inverse[row] = 1.0 / total; }

    var sum = Sum();
    //#goOverValues

    subgroupMatrixStore<row_major>(&patches, subgroup * PATCH_WORDS, sum, FRAGMENT / 4u);
    workgroupBarrier();
    for (var place = lane; place < FRAGMENT * FRAGMENT / 4u; place += LANES) {
        let head = place / (FRAGMENT / 4u);
        storeOutput(token, firstHead + head, subgroup * (FRAGMENT / 4u) + place % (FRAGMENT / 4u),
            patches[subgroup * PATCH_WORDS + place] * inverse[head]);
    }
}
