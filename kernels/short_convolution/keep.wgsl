// Keeps the last inputs of every sequence of a step for the next, after all rows have read those that it had.
// x f32 [tokens][stride]; states f32 [slots][TAPS - 1][WIDTH], position p at place p mod (TAPS - 1).
// Grid: x = ceil(WIDTH / 64), y = TAPS - 1, z = sequences; 64 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> states: array<f32>;
//#operands

const RING = TAPS - 1u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let channel = 64u * group.x + thread;
    let endRow = control[QUERY_START + group.z + 1u];
    let numRows = endRow - control[QUERY_START + group.z];
    if (channel >= WIDTH || group.y >= numRows) { return; }
    let row = endRow - 1u - group.y;
    let place = control[STATE_SLOTS + group.z] * RING + control[POSITIONS + row] % RING;
    states[place * WIDTH + channel] = x(row, channel);
}
