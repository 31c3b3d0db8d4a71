// Attention of single new tokens over a long cache, split over the keys ("flash-decoding"): what one split contributes.
// A workgroup takes one token, up to HEADS query heads of one KV head, and KEYS keys of the context. It leaves their
// output unnormalised, with the largest score and the sum of exponentials that merge.wgsl needs to join the splits.
// partials vec4 [tokens][SPLITS][NUM_HEADS][HEAD_QUADS]; sums (largest score, sum) [tokens][SPLITS][NUM_HEADS]. Scores
// are in base 2, "minus infinity" is -1e30. Splits past the end of a sequence are not written;
// where keys lie beyond a window, the first split is the first with a key that the token sees.
// Grid: x = tokens, y = KV heads * HEAD_GROUPS, z = splits of the longest context; 256 threads.
// Reference: attentionReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
//#access
@group(0) @binding(4) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> sums: array<vec2<f32>>;

/** Fours of a key or a value in workgroup memory, one more than there are: threads of neighbouring keys read in step. */
const TILE_STRIDE = HEAD_QUADS + 1u;
/** Threads that share a key, each with its own heads. */
const KEY_TEAM = 256u / KEYS;
const SOFTMAX_LANES = 16u;
const SCORE_STRIDE = KEYS + 1u;
const MASKED = -1e30f;

var<workgroup> query: array<vec4<f32>, HEADS * HEAD_QUADS>;
/** The keys, then the values. */
var<workgroup> tile: array<Stored, KEYS * TILE_STRIDE>;
/** Scores, then their exponentials. */
var<workgroup> scores: array<f32, HEADS * SCORE_STRIDE>;
/** One value for each thread of the softmax. */
var<workgroup> laneValues: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let token = group.x;
    let blockTable = BLOCK_TABLES + control[ROW_SEQUENCE + token] * BLOCK_TABLE_STRIDE;
    let context = control[POSITIONS + token] + 1u;
    //#firstKey
    if (firstKey >= context) { return; }
    let numKeys = min(KEYS, context - firstKey);
    let kvHead = group.y / HEAD_GROUPS;
    let firstHead = kvHead * GROUP + group.y % HEAD_GROUPS * HEADS;
    let numHeads = min(HEADS, (kvHead + 1u) * GROUP - firstHead);

    //#storeOwn
    // Queries, keys and values are asked for all at once. In place of keys that the sequence does not have, the last.
    //#load
    //#keepKeys
    workgroupBarrier();

    let key = thread % KEYS;
    let keyLane = thread / KEYS;
    let keyAt = key * TILE_STRIDE;
    //#scoreSums
    for (var quad = 0u; quad < HEAD_QUADS; quad += SCORE_TURN) {
        //#score
    }
    //#storeScores
    workgroupBarrier();
    //#keepValues

    let softmaxHead = thread / SOFTMAX_LANES;
    let softmaxLane = thread % SOFTMAX_LANES;
    if (softmaxHead < HEADS) {
        var laneMost = MASKED;
        for (var k = softmaxLane; k < KEYS; k += SOFTMAX_LANES) {
            laneMost = max(laneMost, scores[softmaxHead * SCORE_STRIDE + k]);
        }
        laneValues[thread] = laneMost;
    }
    workgroupBarrier();
    var most = MASKED;
    var laneSum = 0.0;
    if (softmaxHead < HEADS) {
        for (var lane = 0u; lane < SOFTMAX_LANES; lane++) {
            most = max(most, laneValues[softmaxHead * SOFTMAX_LANES + lane]);
        }
        for (var k = softmaxLane; k < KEYS; k += SOFTMAX_LANES) {
            let at = softmaxHead * SCORE_STRIDE + k;
            let weight = select(0.0, exp2(scores[at] - most), k < numKeys);
            scores[at] = weight;
            laneSum += weight;
        }
    }
    workgroupBarrier();
    laneValues[thread] = laneSum;
    workgroupBarrier();

    if (softmaxLane == 0u && softmaxHead < numHeads) {
        var sum = 0.0;
        for (var lane = 0u; lane < SOFTMAX_LANES; lane++) { sum += laneValues[thread + lane]; }
        sums[(token * SPLITS + group.z) * NUM_HEADS + firstHead + softmaxHead] = vec2<f32>(most, sum);
    }
    let quad = thread % HEAD_QUADS;
    let headLane = thread / HEAD_QUADS;
    if (headLane >= HEAD_LANES) { return; }
    //#accumulators
    for (var k = 0u; k < numKeys; k += 4u) {
        //#accumulate
    }
    //#store
}
