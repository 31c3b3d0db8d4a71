// Transposes a step's rows to channels, times the gate before the convolution: signal[c][row] = x[row][c] before[row][c].
// A tile of 32 rows by 32 channels goes through workgroup memory, so that both sides are read and written along lines.
// x, before f32 [tokens][stride of each]; signal f32 [channels][SIGNAL_STRIDE].
// Grid: x = ceil(tokens / 32), y = ceil(channels / 32); 256 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> signal: array<f32>;
//#operands

/** [row][channel], a column more than there are, so that a channel's rows lie in different banks. */
var<workgroup> tile: array<f32, 32 * 33>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let numRows = control[NUM_TOKENS];
    let lane = thread % 32u;
    let line = thread / 32u;
    {
        let channel = 32u * group.y + lane;
        //#read
    }
    workgroupBarrier();
    {
        let row = 32u * group.x + lane;
        //#write
    }
}
