// Adds up what the stretches of each sequence's earlier inputs give its one row of the step.
// sums f32 [stretches][SUM_ROWS][SUM_STRIDE]; carried f32 [tokens][STRIDE].
// Grid: x = ceil(WIDTH / 64), y = rows; 64 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> carried: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= WIDTH) { return; }
    let past = control[POSITIONS + id.y];
    var sum = 0.0;
    for (var first = 0u; first < past; first += STRETCH) {
        sum += sums[(first / STRETCH * SUM_ROWS + id.y) * SUM_STRIDE + id.x];
    }
    carried[id.y * STRIDE + id.x] = sum;
}
