// Transposes the convolved channels back to rows, times the gate after the convolution:
// y[row][c] = after[row][c] (signal[c][row] + carried[row][c]). Tiles as in gather.wgsl.
// signal f32 [channels][SIGNAL_STRIDE]; after, carried, y f32 [tokens][stride of each].
// Grid: x = ceil(tokens / 32), y = ceil(channels / 32); 256 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> signal: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
//#operands

/** [channel][row], a row more than there are, so that a row's channels lie in different banks. */
var<workgroup> tile: array<f32, 32 * 33>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let numRows = control[NUM_TOKENS];
    let lane = thread % 32u;
    let line = thread / 32u;
    {
        let row = 32u * group.x + lane;
        //#read
    }
    workgroupBarrier();
    {
        let channel = 32u * group.y + lane;
        //#write
    }
}
