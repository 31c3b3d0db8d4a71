// Causal attention of tiles of new tokens over the paged cache, after FlashAttention-2 (Dao, 2023, algorithm 1): a
// softmax over tiles of keys, its output left unnormalised until the end.
// A workgroup takes ROWS packed rows (token, head of the KV head's group) of one attention tile and one KV head, so all
// query heads of the group share a tile of K and V in workgroup memory. Tiles of KEYS keys lie at absolute positions and
// every row's sums run in the order of the keys: a result depends neither on the batch, nor on how a prompt is cut.
// Teams of 8 threads load keys and make scores of two rows, 4 do a row's softmax, COLUMN_LANES its output.
// output f32 [tokens, OUTPUT_STRIDE]. Scores are in base 2, "minus infinity" is -1e30.
// Grid: x = attention tiles, y = KV heads, z = ceil(packed rows of a tile / ROWS); 4 * ROWS threads.
// Reference: attentionReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
//#access

const THREADS = 4u * ROWS;
/** Odd, so that equal columns of neighbouring keys lie in different banks. */
const TILE_STRIDE = HEAD_QUADS | 1u;
const SCORE_STRIDE = KEYS + 1u;
const MASKED = -1e30f;

/** K of the tile's keys, then their V. */
var<workgroup> tile: array<vec4<f32>, KEYS * TILE_STRIDE>;
/** Scores, then their exponentials. */
var<workgroup> scores: array<f32, ROWS * SCORE_STRIDE>;
/** One value for each thread of the softmax. */
var<workgroup> laneValues: array<f32, THREADS>;
/** What a row's earlier sums are multiplied by. */
var<workgroup> rescale: array<f32, ROWS>;

/** Row of the activations that packed row `packed` of the tile belongs to. */
fn tokenOf(firstRow: u32, packed: u32) -> u32 { return firstRow + packed / GROUP; }

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let record = TILES + group.x * TILE_WORDS;
    let blockTable = BLOCK_TABLES + control[record] * BLOCK_TABLE_STRIDE;
    let firstRow = control[record + 1u];
    let packedRows = control[record + 2u] * GROUP;
    let kvHead = group.y;
    let firstPacked = group.z * ROWS;
    if (firstPacked >= packedRows) { return; }
    let lastPacked = min(firstPacked + ROWS, packedRows) - 1u;
    let numKeys = control[POSITIONS + tokenOf(firstRow, lastPacked)] + 1u;
    // Never 0. Were it a constant, Mesa would unroll the loop over it, and compile for seconds.
    let headQuads = min(HEAD_QUADS, numKeys * HEAD_QUADS);

    // Threads for rows beyond the last do its work again, and store nothing.
    let team = thread / 8u;
    let teamLane = thread % 8u;
    let packed0 = min(firstPacked + team, lastPacked);
    let packed1 = min(firstPacked + team + ROWS / 2u, lastPacked);
    let token0 = tokenOf(firstRow, packed0);
    let token1 = tokenOf(firstRow, packed1);
    let head0 = kvHead * GROUP + packed0 % GROUP;
    let head1 = kvHead * GROUP + packed1 % GROUP;
    let limit0 = control[POSITIONS + token0] + 1u;
    let limit1 = control[POSITIONS + token1] + 1u;

    let softmaxRow = thread / 4u;
    let firstScore = softmaxRow * SCORE_STRIDE + thread % 4u;
    var most = MASKED;
    var laneSum = 0.0;

    let columnLane = thread % COLUMN_LANES;
    let outputRow = thread / COLUMN_LANES * OUTPUT_ROWS;
    //#columns
    //#accumulators

    let fewestKeys = control[POSITIONS + tokenOf(firstRow, firstPacked)] + 1u;
    //#firstSeen
    for (var firstKey = firstSeen; firstKey < numKeys; firstKey += KEYS) {
        let tileKeys = min(KEYS, (numKeys - firstKey + 3u) & ~3u);
        for (var key = team; key < tileKeys; key += ROWS / 2u) {
            let position = firstKey + key;
            let present = position < numKeys;
            let slot = slotOf(blockTable, min(position, numKeys - 1u));
            //#loadKeys
        }
        workgroupBarrier();

        //#scoreSums
        for (var quad = 0u; quad < headQuads; quad += SCORE_TURN) {
            //#score
        }
        //#storeScores
        workgroupBarrier();

        var laneMost = MASKED;
        //#laneMost
        laneValues[thread] = laneMost;
        for (var key = team; key < tileKeys; key += ROWS / 2u) {
            let position = firstKey + key;
            let present = position < numKeys;
            let slot = slotOf(blockTable, min(position, numKeys - 1u));
            //#loadValues
        }
        workgroupBarrier();

        let lane0 = softmaxRow * 4u;
        let tileMost = max(
            max(laneValues[lane0], laneValues[lane0 + 1u]),
            max(laneValues[lane0 + 2u], laneValues[lane0 + 3u]),
        );
        let newMost = max(most, tileMost);
        // Exactly 1 where nothing grew, so that a tile of which a row sees nothing leaves its sums as they were.
        let scale = select(exp2(most - newMost), 1.0, most == newMost);
        most = newMost;
        laneSum *= scale;
        //#exponentials
        if (thread % 4u == 0u) { rescale[softmaxRow] = scale; }
        workgroupBarrier();

        //#rescale
        for (var key = 0u; key < tileKeys; key += 4u) {
            //#accumulate
        }
        workgroupBarrier();
    }

    laneValues[thread] = laneSum;
    workgroupBarrier();
    //#store
}
