// Draws the token of every sample with a temperature, among those of its mask: top-k, then min-p, then top-p, then the inverse of the cumulative
// distribution in the order of ids.
// Everything is decided on integers. Thresholds are found digit by digit (radix search) in histograms over the logits'
// keys, and probabilities are in units of 2^-31, so that sums in any order are the same and a token depends on nothing
// but its own logits, seed and counter.
// logits f32 bits [samples, ROW_STRIDE]; tokens [samples]. Grid: samples; 256 threads. Reference: sampleLogits.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> logits: array<u32>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
//#candidates
//#philox

const LOG2E = 1.44269504f;
const WHOLE = 2147483648.0f;

/** How likely a logit is and whether it is still in the running. */
struct Filter {
    /** Key of the largest logit, and its value. */
    mostKey: u32,
    most: f32,
    /** log2(e) / temperature */
    sharpness: f32,
    /** Keys below are out. */
    lowestKey: u32,
    /** Weights below are out; the likeliest token weighs 1. */
    lowestWeight: f32,
    /** Units of probability for a weight of 1. */
    unitsPerWeight: f32,
}

var<workgroup> bins: array<atomic<u32>, 256>;
var<workgroup> running: array<u32, 256>;
var<workgroup> partial: array<f32, 256>;
var<workgroup> found: vec2<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let sample = group.x;
    let record = SAMPLES + sample * SAMPLE_WORDS;
    let temperature = bitcast<f32>(control[record + 1u]);
    let topK = control[record + 2u];
    let topP = bitcast<f32>(control[record + 3u]);
    let seed = vec2<u32>(control[record + 5u], control[record + 6u]);
    if (!(temperature > 0.0) || control[record + 9u] != NO_TARGET) { return; }
    useMaskOf(sample);

    let mostKey = largestKey(sample, thread);
    let sharpness = LOG2E / max(temperature, 1e-30);
    var filtered = Filter(mostKey, valueOf(mostKey), sharpness, 1u, 0.0, 0.0);
    if (topK > 0u && topK < VOCAB) { filtered.lowestKey = kthKey(sample, thread, topK); }
    filtered.lowestWeight = bitcast<f32>(control[record + 4u]);
    filtered.unitsPerWeight = WHOLE / totalWeight(sample, thread, filtered);
    if (topP < 1.0) { filtered.lowestKey = nucleusKey(sample, thread, filtered, topP); }
    let token = drawnToken(sample, thread, filtered, randomWord(seed, control[record + 7u]));
    if (thread == 0u) { tokens[sample] = token; }
}

fn weightOf(key: u32, filtered: Filter) -> f32 {
    let weight = exp2(max((valueOf(key) - filtered.most) * filtered.sharpness, -200.0));
    return select(weight, 1.0, key == filtered.mostKey);
}

/** Weight of a logit that is in the running, else 0. */
fn keptWeight(key: u32, filtered: Filter) -> f32 {
    let weight = weightOf(key, filtered);
    return select(0.0, weight, key >= filtered.lowestKey && weight >= filtered.lowestWeight);
}

fn unitsOf(key: u32, filtered: Filter) -> u32 {
    return u32(keptWeight(key, filtered) * filtered.unitsPerWeight + 0.5);
}

fn largestKey(sample: u32, thread: u32) -> u32 {
    var key = 0u;
    for (var id = thread; id < VOCAB; id += 256u) { key = max(key, candidateKey(sample, id)); }
    running[thread] = key;
    for (var width = 128u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (thread < width) { running[thread] = max(running[thread], running[thread + width]); }
    }
    workgroupBarrier();
    let largest = running[0];
    workgroupBarrier();
    return largest;
}

fn totalWeight(sample: u32, thread: u32, filtered: Filter) -> f32 {
    var sum = 0.0;
    for (var id = thread; id < VOCAB; id += 256u) { sum += keptWeight(candidateKey(sample, id), filtered); }
    partial[thread] = sum;
    for (var width = 128u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (thread < width) { partial[thread] += partial[thread + width]; }
    }
    workgroupBarrier();
    return max(partial[0], 1.0);
}

/** The k-th largest key, or 1 when there are fewer. */
fn kthKey(sample: u32, thread: u32, k: u32) -> u32 {
    var prefix = 0u;
    var wanted = k;
    for (var digit = 0u; digit < 4u; digit++) {
        let shift = 24u - 8u * digit;
        clearBins(thread);
        for (var id = thread; id < VOCAB; id += 256u) {
            let key = candidateKey(sample, id);
            if (key > 0u && sameDigits(key, prefix, digit)) { atomicAdd(&bins[(key >> shift) & 255u], 1u); }
        }
        sumBins(thread, true);
        let bin = crossing(thread, wanted, 255u);
        prefix |= (255u - bin.x) << shift;
        wanted -= bin.y;
    }
    return max(prefix, 1u);
}

/** The largest key such that it and all above it hold at least topP of the probability. */
fn nucleusKey(sample: u32, thread: u32, filtered: Filter, topP: f32) -> u32 {
    var prefix = 0u;
    var wanted = 0u;
    for (var digit = 0u; digit < 4u; digit++) {
        let shift = 24u - 8u * digit;
        clearBins(thread);
        for (var id = thread; id < VOCAB; id += 256u) {
            let key = candidateKey(sample, id);
            if (key >= filtered.lowestKey && sameDigits(key, prefix, digit)) {
                atomicAdd(&bins[(key >> shift) & 255u], unitsOf(key, filtered));
            }
        }
        sumBins(thread, true);
        if (digit == 0u) { wanted = max(u32(ceil(topP * f32(running[255]))), 1u); }
        let bin = crossing(thread, wanted, 255u);
        prefix |= (255u - bin.x) << shift;
        wanted -= bin.y;
    }
    return max(prefix, filtered.lowestKey);
}

/** Whether `key` has the digits (bytes) of `prefix` before `digit`. */
fn sameDigits(key: u32, prefix: u32, digit: u32) -> bool {
    return digit == 0u || (key ^ prefix) >> (32u - 8u * digit) == 0u;
}

/** Narrows down, 256 ranges of ids at a time, to the id in whose share of the probability `random` / 2^32 falls. */
fn drawnToken(sample: u32, thread: u32, filtered: Filter, random: u32) -> u32 {
    var first = 0u;
    var wanted = 0u;
    for (var span = VOCAB; span > 1u; span = (span + 255u) / 256u) {
        let width = (span + 255u) / 256u;
        clearBins(thread);
        for (var id = first + thread; id < min(first + span, VOCAB); id += 256u) {
            atomicAdd(&bins[(id - first) / width], unitsOf(candidateKey(sample, id), filtered));
        }
        sumBins(thread, false);
        if (span == VOCAB) { wanted = mulHigh(random, running[255]) + 1u; }
        let bin = crossing(thread, wanted, 0u);
        first += bin.x * width;
        wanted -= bin.y;
    }
    return first;
}

fn clearBins(thread: u32) {
    atomicStore(&bins[thread], 0u);
    workgroupBarrier();
}

/** Leaves in `running` the sums over the first 1, 2, ... 256 bins, counted from the last bin if `fromLast`. */
fn sumBins(thread: u32, fromLast: bool) {
    workgroupBarrier();
    var sum = atomicLoad(&bins[select(thread, 255u - thread, fromLast)]);
    running[thread] = sum;
    for (var distance = 1u; distance < 256u; distance *= 2u) {
        workgroupBarrier();
        if (thread >= distance) { sum += running[thread - distance]; }
        workgroupBarrier();
        running[thread] = sum;
    }
    workgroupBarrier();
}

/** The bin with which the running sum reaches `wanted` (at least 1) and the sum before it; (otherwise, 0) for none. */
fn crossing(thread: u32, wanted: u32, otherwise: u32) -> vec2<u32> {
    if (thread == 0u) { found = vec2<u32>(otherwise, 0u); }
    workgroupBarrier();
    let earlier = select(running[max(thread, 1u) - 1u], 0u, thread == 0u);
    if (earlier < wanted && running[thread] >= wanted) { found = vec2<u32>(thread, earlier); }
    workgroupBarrier();
    let bin = found;
    workgroupBarrier();
    return bin;
}
