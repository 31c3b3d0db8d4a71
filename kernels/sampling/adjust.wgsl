// Adds the step's adjustments (logit_bias, penalties) to single logits, in place.
// logits f32 [samples, ROW_STRIDE]. Records lie sample after sample; several may name the same logit: then the first of
// them adds up all, in order, so that no two threads touch one logit.
// Grid: ceil(adjustments / 64), 64 threads. Reference: adjust in sample_cpu.ts.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;

fn sampleOf(record: u32) -> u32 { return control[ADJUSTMENTS + 4u * record]; }
fn idOf(record: u32) -> u32 { return control[ADJUSTMENTS + 4u * record + 1u]; }
fn deltaOf(record: u32) -> f32 { return bitcast<f32>(control[ADJUSTMENTS + 4u * record + 2u]); }

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) global: vec3<u32>) {
    let record = global.x;
    let numRecords = control[NUM_ADJUSTMENTS];
    if (record >= numRecords) { return; }
    let sample = sampleOf(record);
    let id = idOf(record);
    if (id >= VOCAB) { return; }
    for (var earlier = record; earlier > 0u && sampleOf(earlier - 1u) == sample; earlier--) {
        if (idOf(earlier - 1u) == id) { return; }
    }
    var value = logits[sample * ROW_STRIDE + id];
    for (var same = record; same < numRecords && sampleOf(same) == sample; same++) {
        if (idOf(same) == id) { value += deltaOf(same); }
    }
    logits[sample * ROW_STRIDE + id] = value;
}
