// The token of every sample that needs no random number: its target where it has one, else (temperature 0) the id of the
// largest logit, the lowest of equals. 0 when nothing may be chosen.
// logits f32 bits [samples, ROW_STRIDE]; tokens [samples]. Grid: samples; THREADS threads. Reference: sampleLogits.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> logits: array<u32>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
//#candidates

var<workgroup> keys: array<u32, THREADS>;
var<workgroup> ids: array<u32, THREADS>;

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
    var key = 0u;
    var id = thread;
    for (var first = thread; first < VOCAB; first += PER_TURN * THREADS) {
        //#candidate
    }
    keys[thread] = key;
    ids[thread] = id;
    for (var width = THREADS / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if (thread < width && before(keys[thread + width], ids[thread + width], keys[thread], ids[thread])) {
            keys[thread] = keys[thread + width];
            ids[thread] = ids[thread + width];
        }
    }
    if (thread == 0u) { tokens[sample] = ids[0]; }
}
