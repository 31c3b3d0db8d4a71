// Log-probabilities of the chosen token and of the likeliest ones, for samples that ask for them: a log-softmax of the
// logits before temperature and truncation. Suppressed ids and those outside a mask take part: how likely they are is not
// changed by their not being allowed.
// logits f32 bits [samples, ROW_STRIDE]; tokens [samples]; scores [samples, SCORE_WORDS]: see scores.ts.
// Grid: samples; 256 threads. Reference: scoreToken in sample_cpu.ts.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> logits: array<u32>;
@group(0) @binding(2) var<storage, read> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> scores: array<u32>;
//#logitKeys

const NO_ID = 0xffffffffu;
const LOG2E = 1.44269504f;

var<workgroup> keys: array<u32, 256>;
var<workgroup> ids: array<u32, 256>;
var<workgroup> partial: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let sample = group.x;
    let numTop = bitcast<i32>(control[SAMPLES + sample * SAMPLE_WORDS + 8u]);
    if (numTop < 0) { return; }
    let best = nextBest(sample, thread, 0xffffffffu, NO_ID);
    let logSum = logSumOfExp(sample, thread, valueOf(best.x));
    let at = sample * SCORE_WORDS;
    if (thread == 0u) { scores[at] = logprobBits(keyOf(logits[sample * ROW_STRIDE + tokens[sample]]), logSum); }
    var last = vec2<u32>(0xffffffffu, NO_ID);
    for (var rank = 0u; rank < min(u32(numTop), MAX_TOP); rank++) {
        last = nextBest(sample, thread, last.x, last.y);
        if (thread == 0u) {
            scores[at + 1u + 2u * rank] = last.y;
            scores[at + 2u + 2u * rank] = logprobBits(last.x, logSum);
        }
    }
}

fn logprobBits(key: u32, logSum: f32) -> u32 { return bitcast<u32>(max(valueOf(key) - logSum, -1e30)); }

/** Key and id of the first logit, by key and then by id, after the given one; NO_ID past the last. */
fn nextBest(sample: u32, thread: u32, lastKey: u32, lastId: u32) -> vec2<u32> {
    var key = 0u;
    var id = NO_ID;
    for (var other = thread; other < VOCAB; other += 256u) {
        let otherKey = keyOf(logits[sample * ROW_STRIDE + other]);
        if (before(lastKey, lastId, otherKey, other) && before(otherKey, other, key, id)) {
            key = otherKey;
            id = other;
        }
    }
    keys[thread] = key;
    ids[thread] = id;
    for (var width = 128u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (thread < width && before(keys[thread + width], ids[thread + width], keys[thread], ids[thread])) {
            keys[thread] = keys[thread + width];
            ids[thread] = ids[thread + width];
        }
    }
    workgroupBarrier();
    let best = vec2<u32>(keys[0], ids[0]);
    workgroupBarrier();
    return best;
}

fn logSumOfExp(sample: u32, thread: u32, most: f32) -> f32 {
    var sum = 0.0;
    for (var id = thread; id < VOCAB; id += 256u) {
        let value = valueOf(keyOf(logits[sample * ROW_STRIDE + id]));
        sum += exp2(max((value - most) * LOG2E, -200.0));
    }
    partial[thread] = sum;
    for (var width = 128u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (thread < width) { partial[thread] += partial[thread + width]; }
    }
    workgroupBarrier();
    return most + log(max(partial[0], 1.0));
}
