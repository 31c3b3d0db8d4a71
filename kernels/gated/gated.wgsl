// gated: y = x * gate / (1 + e^-gate), column by column; y f32 [rows, STRIDE].
// Grid: x = ceil(WIDTH / 64), y = rows folded at 65535 into z. Reference: gatedReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
//#operands

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.z * 65535u + group.y;
    let column = group.x * 64u + thread;
    if (row >= control[NUM_ROWS] || column >= WIDTH) { return; }
    // Far below zero the gate is zero, though its exponential is beyond f32.
    let g = max(gate(row, column), -80.0);
    y[row * STRIDE + column] = x(row, column) * g / (1.0 + exp(-g));
}
