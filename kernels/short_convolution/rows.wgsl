// Short causal convolution over time of one tile of a sequence's rows, a channel a thread:
// y[t] = gate[t] (sum over i of filter[i] x[t - i] + bias). Inputs before the step's own come from the sequence's state, a
// ring of TAPS - 1 rows in which position p has place p mod (TAPS - 1); before position 0 there are zeros.
// x, gate, y f32 [tokens][stride of each]; filter f32 [TAPS][WIDTH] by lag; states f32 [slots][TAPS - 1][WIDTH].
// A thread keeps the tile's TILE sums in registers, and of inputs a window that slides back with the lag: every input of
// the window is read once, and every tap once, along lines of neighbouring channels.
// Grid: x = ceil(WIDTH / 64), y = tiles; 64 threads. Reference: shortConvolutionReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> taps: array<f32>;
//#states
//#operands

const RING = TAPS - 1u;

/** Input of the sequence's channel at `position`, which may be before the step's first or, by wrapping, before 0. */
fn inputAt(position: u32, firstPosition: u32, firstRow: u32, state: u32, channel: u32) -> f32 {
    if (position >= 0x80000000u) { return 0.0; }
    if (position >= firstPosition) { return x(firstRow + position - firstPosition, channel); }
    return states[state + position % RING * WIDTH + channel];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let channel = 64u * group.x + thread;
    if (channel >= WIDTH) { return; }
    let record = TILES + group.y * TILE_WORDS;
    let sequence = control[record];
    let row = control[record + 1u];
    let numRows = control[record + 2u];
    let firstRow = control[QUERY_START + sequence];
    let firstPosition = control[POSITIONS + firstRow];
    let position = control[POSITIONS + row];
    let state = control[STATE_SLOTS + sequence] * RING * WIDTH;
    //#window
    //#sums
    //#store
}
