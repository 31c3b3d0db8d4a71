// layerNorm: y = (x - mean) / sqrt(var + EPSILON) * scale + bias over each row, biased variance.
// x, y f32 [rows, STRIDE], of which WIDTH elements count; scale, bias f32 [WIDTH].
// Grid: x = rows, folded at 65535 into y. One workgroup a row. Reference: layerNormReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

const THREADS = 128u;
var<workgroup> partials: array<vec2<f32>, THREADS>;

// The sum over all threads, in every thread.
fn sumOverRow(thread: u32, value: vec2<f32>) -> vec2<f32> {
    workgroupBarrier();
    partials[thread] = value;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if (thread < half) { partials[thread] += partials[thread + half]; }
        workgroupBarrier();
    }
    return partials[0];
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.y * 65535u + group.x;
    if (row >= control[NUM_ROWS]) { return; }
    let start = row * STRIDE;

    var sum = 0.0;
    for (var i = thread; i < WIDTH; i += THREADS) { sum += x[start + i]; }
    let roughMean = sumOverRow(thread, vec2<f32>(sum, 0.0)).x / f32(WIDTH);

    // A mean in f32 is off by its rounding, which a large mean makes large beside the spread. So the second pass sums
    // the differences too: their mean is that error, and is taken out of mean and variance.
    var moments = vec2<f32>();
    for (var i = thread; i < WIDTH; i += THREADS) {
        let difference = x[start + i] - roughMean;
        moments += vec2<f32>(difference, difference * difference);
    }
    moments = sumOverRow(thread, moments) / f32(WIDTH);
    let variance = max(moments.y - moments.x * moments.x, 0.0);
    let inverse = 1.0 / sqrt(variance + EPSILON);

    for (var i = thread; i < WIDTH; i += THREADS) {
        y[start + i] = (x[start + i] - roughMean - moments.x) * inverse * scale[i] + bias[i];
    }
}
