// Transposes filters to lags: table[lag][filter] = source[filter][lag], by tiles of 32 x 32 through workgroup memory.
// source f32 [COUNT][TAPS]; table f32 [TAPS][COUNT].
// Grid: x = ceil(TAPS / 32), y = ceil(COUNT / 32); 256 threads.

@group(0) @binding(0) var<storage, read> source: array<f32>;
@group(0) @binding(1) var<storage, read_write> table: array<f32>;

/** [filter][lag], a lag more than there are, so that a lag's filters lie in different banks. */
var<workgroup> tile: array<f32, 32 * 33>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let lane = thread % 32u;
    let line = thread / 32u;
    {
        let lag = 32u * group.x + lane;
        //#read
    }
    workgroupBarrier();
    {
        let row = 32u * group.y + lane;
        //#write
    }
}
