// Diagonal SSM for one new token of each sequence: a thread has one mode of one channel, TEAM threads a channel, whose
// contributions are summed as a tree. All that it does is to read and write the states.
// Buffers as in scan.wgsl. Grid: x = ceil(WIDTH / CHANNELS), y = sequences; THREADS threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> states: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> modes: array<vec4<f32>>;
//#operands

var<workgroup> contributions: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = control[QUERY_START + group.y];
    let lane = thread % TEAM;
    let channel = group.x * CHANNELS + thread / TEAM;
    var contribution = 0.0;
    if (channel < WIDTH && lane < MODES) {
        let mode = channel * MODES + lane;
        let kept = control[STATE_SLOTS + group.y] * WIDTH * MODES + mode;
        var s = vec2<f32>();
        if (control[POSITIONS + row] > 0u) { s = states[kept]; }
        s = times(modes[mode].xy, s) + vec2<f32>(x(row, channel), 0.0);
        states[kept] = s;
        contribution = times(modes[mode].zw, s).x;
    }
    contributions[thread] = contribution;
    //#tree
    if (lane == 0u && channel < WIDTH) {
        let sum = contributions[thread];
        //#store
    }
}
