// Attention of single new tokens over a long cache on matrix units, split over the keys ("flash-decoding"): what one split
// contributes, as split.wgsl does elsewhere. A workgroup takes one token, FRAGMENT query heads of one KV head (all of them,
// where K and V are shared by so many) and KEYS keys of the context, FRAGMENT of them a subgroup, or DEEP subgroups that
// share their columns; then every subgroup takes columns of the output. Fragments of keys and values come straight from the
// cache, each used once.
// queries f32 [tokens, INPUT_STRIDE]; keys, values f16 in tiles (kv_layout.ts), 16 bytes a word; partials, sums as in
// split.wgsl. The token's own key and value are split 0, of workgroups that also store them: no other has to wait for that.
// Queries and exponentials are rounded to f16, sums are f32. Slots of a block that the sequence does not have yet are read
// too, and the token's own while it is stored: what lies there is finite before and after, clamped as it was packed, and weighs
// nothing.
// Grid: x = tokens, y = KV heads * HEAD_GROUPS, z = 1 + splits of what the longest context has in the cache; THREADS threads.
// Reference: attentionReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> queries: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> keys: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> values: array<vec4<u32>>;
//#cache
@group(0) @binding(4) var<storage, read_write> partials: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> sums: array<vec2<f32>>;

alias Left = subgroup_matrix_left<f16, FRAGMENT, FRAGMENT>;
alias Right = subgroup_matrix_right<f16, FRAGMENT, FRAGMENT>;
alias Sum = subgroup_matrix_result<f32, FRAGMENT, FRAGMENT>;

const HEAD_WORDS = HEAD_SIZE / 8u;
/** Words of a row in memory, one more than there are: rows then begin in different banks. */
const QUERY_STRIDE = HEAD_WORDS + 1u;
const SCORE_STRIDE = KEYS / 4u + 1u;
const SCORE_WORDS = FRAGMENT * SCORE_STRIDE;
const WEIGHT_STRIDE = KEYS / 8u + 1u;
/** Lanes that share a head's scores, eight each. */
const HEAD_LANES = KEYS / 8u;
const MASKED = -1e30f;

var<workgroup> query: array<vec4<u32>, FRAGMENT * QUERY_STRIDE>;
/** Of the columns of each of the subgroups that share a key. */
var<workgroup> scores: array<vec4<f32>, DEEP * SCORE_WORDS>;
/** The scores' exponentials, as halves. */
var<workgroup> weights: array<vec4<u32>, FRAGMENT * WEIGHT_STRIDE>;

//#pack

/** Word `word` of a head of the token's queries, keys or values. */
fn activationWord(token: u32, head: u32, word: u32) -> vec4<u32> {
    let at = (token * INPUT_STRIDE + head * HEAD_SIZE) / 4u + 2u * word;
    return vec4<u32>(packHalves(queries[at]), packHalves(queries[at + 1u]));
}

/** Four columns of the same, as f16 holds them. */
fn activationQuad(token: u32, head: u32, quad: u32) -> vec4<f32> {
    let halves = packHalves(queries[(token * INPUT_STRIDE + head * HEAD_SIZE) / 4u + quad]);
    return vec4<f32>(unpack2x16float(halves.x), unpack2x16float(halves.y));
}

/** Where the FRAGMENT keys or values from `position` on begin; in place of those past the last, before `end`, that. */
fn cacheAt(blockTable: u32, position: u32, end: u32, kvHead: u32) -> u32 {
    let present = min(position, (end - 1u) / FRAGMENT * FRAGMENT);
    return cacheWord(control[blockTable + present / BLOCK_SIZE] * BLOCK_SIZE + present % BLOCK_SIZE, kvHead, 0u);
}

/** Word `word` of a head in the cache. */
fn cacheWord(slot: u32, kvHead: u32, word: u32) -> u32 { return kvAt(slot, kvHead * HEAD_SIZE + 8u * word) / 8u; }

/** Words from where the tiles of a head begin to a slice of FRAGMENT of its columns. */
fn sliceWords(slice: u32) -> u32 {
    let column = slice * FRAGMENT;
    return column / BLOCK_SIZE * KV_TILE_WORDS + column % BLOCK_SIZE / 8u;
}

/** Four scores of all columns. */
fn scoreQuad(at: u32) -> vec4<f32> {
    var sum = scores[at];
    for (var deep = 1u; deep < DEEP; deep++) { sum += scores[deep * SCORE_WORDS + at]; }
    return sum;
}

/** The split that is the token's own key and value, which are put into the cache as well. */
fn attendOwn(token: u32, kvHead: u32, firstHead: u32, stores: bool, thread: u32, subgroup: u32, lane: u32) {
    if (stores && thread < HEAD_WORDS) {
        let at = cacheWord(control[SLOT_MAPPING + token], kvHead, thread);
        keys[at] = activationWord(token, FIRST_KEY + kvHead, thread);
        values[at] = activationWord(token, FIRST_VALUE + kvHead, thread);
    }
    let firstOwn = token * SPLITS * NUM_HEADS + firstHead;
    for (var place = thread; place < FRAGMENT * HEAD_QUADS; place += THREADS) {
        partials[firstOwn * HEAD_QUADS + place] = activationQuad(token, FIRST_VALUE + kvHead, place % HEAD_QUADS);
    }
    for (var head = subgroup; head < FRAGMENT; head += THREADS / LANES) {
        var products = vec4<f32>();
        for (var quad = lane; quad < HEAD_QUADS; quad += LANES) {
            products = fma(
                activationQuad(token, firstHead + head, quad), activationQuad(token, FIRST_KEY + kvHead, quad), products,
            );
        }
        let score = SCALE * subgroupAdd(dot(products, vec4<f32>(1.0)));
        if (lane == 0u) { sums[firstOwn + head] = vec2<f32>(score, 1.0); }
    }
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
    let kvHead = group.y / HEAD_GROUPS;
    let firstHead = kvHead * GROUP + group.y % HEAD_GROUPS * FRAGMENT;
    if (group.z == 0u) {
        attendOwn(token, kvHead, firstHead, group.y % HEAD_GROUPS == 0u, thread, subgroup, lane);
        return;
    }
    //#firstKey
    let end = context - 1u;
    if (firstKey >= end) { return; }

    for (var place = thread; place < FRAGMENT * HEAD_WORDS; place += THREADS) {
        let head = place / HEAD_WORDS;
        let word = place % HEAD_WORDS;
        query[head * QUERY_STRIDE + word] = activationWord(token, firstHead + head, word);
    }
    let deep = subgroup / KEY_SUBGROUPS;
    let keyGroup = subgroup % KEY_SUBGROUPS;
    let queryAt = deep * (DEEP_COLUMNS / 8u);
    let keyAt = cacheAt(blockTable, firstKey + keyGroup * FRAGMENT, end, kvHead) +
        deep * (DEEP_COLUMNS / BLOCK_SIZE * KV_TILE_WORDS);
    //#loadKeys
    //#valuePlaces
    //#loadValues
    workgroupBarrier();
    var score = Sum();
    //#scores
    subgroupMatrixStore<row_major>(&scores, deep * SCORE_WORDS + keyGroup * (FRAGMENT / 4u), score, SCORE_STRIDE);
    workgroupBarrier();

    if (thread < SCORE_THREADS) {
        let head = thread / HEAD_LANES;
        let part = thread % HEAD_LANES;
        let key = vec4<u32>(firstKey + 8u * part) + vec4<u32>(0u, 1u, 2u, 3u);
        let at = head * SCORE_STRIDE + 2u * part;
        var s0 = select(vec4<f32>(MASKED), SCALE * scoreQuad(at), key < vec4<u32>(end));
        var s1 = select(vec4<f32>(MASKED), SCALE * scoreQuad(at + 1u), key + 4u < vec4<u32>(end));
        //#seen
        let both = max(s0, s1);
        var most = max(max(both.x, both.y), max(both.z, both.w));
        for (var distance = 1u; distance < HEAD_LANES; distance *= 2u) { most = max(most, subgroupShuffleXor(most, distance)); }
        // A masked score is so far below the largest that its exponential is zero.
        let p0 = exp2(s0 - most);
        let p1 = exp2(s1 - most);
        var sum = dot(p0 + p1, vec4<f32>(1.0));
        for (var distance = 1u; distance < HEAD_LANES; distance *= 2u) { sum += subgroupShuffleXor(sum, distance); }
        weights[head * WEIGHT_STRIDE + part] = vec4<u32>(packHalves(p0), packHalves(p1));
        if (part == 0u) { sums[(token * SPLITS + group.z) * NUM_HEADS + firstHead + head] = vec2<f32>(most, sum); }
    }
    workgroupBarrier();

    let firstPartial = ((token * SPLITS + group.z) * NUM_HEADS + firstHead) * HEAD_QUADS;
    //#loadWeights
    //#outputs
}
