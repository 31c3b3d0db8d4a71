// The last inputs of a sequence as of a row within a step, kept in another slot: those of the step's rows, and of what the
// sequence's own slot holds the ones before, which the step's last rows have not taken the place of yet (keep.wgsl).
// x f32 [tokens][stride]; states f32 [slots][TAPS - 1][WIDTH], position p at place p mod (TAPS - 1).
// Grid: x = ceil(WIDTH / 64), y = TAPS - 1, z = kept states; 64 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> states: array<f32>;
//#operands

const RING = TAPS - 1u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let channel = 64u * group.x + thread;
    let record = KEPT_STATES + group.z * KEPT_STATE_WORDS;
    let lastRow = control[record];
    let position = control[POSITIONS + lastRow];
    if (channel >= WIDTH || group.y > position) { return; }
    let sequence = control[ROW_SEQUENCE + lastRow];
    let place = (position - group.y) % RING;
    let at = (control[record + 1u] * RING + place) * WIDTH + channel;
    if (group.y <= lastRow - control[QUERY_START + sequence]) {
        states[at] = x(lastRow - group.y, channel);
    } else {
        states[at] = states[(control[STATE_SLOTS + sequence] * RING + place) * WIDTH + channel];
    }
}
