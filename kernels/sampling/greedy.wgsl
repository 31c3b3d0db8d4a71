// The token of every sample that needs no random number: its target where it has one, else (temperature 0) the id of the
// largest logit, the lowest of equals. 0 when nothing may be chosen.
// One core has to look at every logit, and every instruction for each counts. So the largest of all is found first, by no
// more than the order of their bits; only where it may not be chosen, or could equal a logit of other bits, are all of them
// looked at with care.
// logits f32 bits [samples, ROW_STRIDE]; tokens [samples]. Grid: samples; THREADS threads. Reference: sampleLogits.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> logits: array<u32>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
//#candidates

/** The keys of 0, which -0 has, too, and of the least finite number, which minus infinity has. */
const KEY_OF_ZERO = 0x80000000u;
const LEAST_KEY = 0x00800000u;

var<workgroup> keys: array<u32, THREADS>;
var<workgroup> ids: array<u32, THREADS>;
var<workgroup> isChosen: u32;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let sample = group.x;
    let record = SAMPLES + sample * SAMPLE_WORDS;
    let temperature = bitcast<f32>(control[record + 1u]);
    let wanted = control[record + 9u];
    if (wanted != NO_TARGET) {
        if (thread == 0u) { tokens[sample] = wanted; }
        return;
    }
    if (temperature > 0.0) { return; }
    useMaskOf(sample);
    // As useMaskOf has it; of isMasked the compiler does not know that it is the same in all threads.
    if (control[record + 10u] == NO_MASK) {
        var key = 0u;
        var id = thread;
        for (var first = thread; first < VOCAB; first += PER_TURN * THREADS) {
            //#logit
        }
        findFirst(thread, key, id);
        if (thread == 0u) {
            isChosen = u32(isUnlikeOthers(keys[0]) && candidateKey(sample, ids[0]) == keys[0]);
            if (isChosen == 1u) { tokens[sample] = ids[0]; }
        }
        if (workgroupUniformLoad(&isChosen) == 1u) { return; }
    }
    var key = 0u;
    var id = thread;
    for (var first = thread; first < VOCAB; first += PER_TURN * THREADS) {
        //#candidate
    }
    findFirst(thread, key, id);
    if (thread == 0u) { tokens[sample] = ids[0]; }
}

/** Leaves the first of all threads' (key, id) in keys[0] and ids[0], for thread 0. */
fn findFirst(thread: u32, key: u32, id: u32) {
    keys[thread] = key;
    ids[thread] = id;
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (thread < width && before(keys[thread + width], ids[thread + width], keys[thread], ids[thread])) {
            keys[thread] = keys[thread + width];
            ids[thread] = ids[thread + width];
        }
    }
}

/**
 * The key of a number that is neither NaN nor infinite nor -0. -0 and minus infinity have the next lower key to that of what
 * they are equal to, infinity and NaN a higher one than any number, NaN with a sign a lower one.
 */
fn orderOf(bits: u32) -> u32 {
    return bits ^ (u32(i32(bits) >> 31u) | 0x80000000u);
}

/** Whether a number of this key has it alone: 0 does not, nor does the least finite number. */
fn isUnlikeOthers(key: u32) -> bool {
    return key != KEY_OF_ZERO && key > LEAST_KEY;
}
