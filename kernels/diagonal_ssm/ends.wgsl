// The state that each chunk of CHUNK tokens but a sequence's last would end with, had it begun with none: first of three
// dispatches for sequences of more than one chunk, so that their chunks run side by side.
// x f32 [tokens][stride]; modes as in scan.wgsl; chunkStates complex [chunks][WIDTH][MODES].
// Grid: x = ceil(WIDTH / CHANNELS), y = chunks but the last, z = sequences; THREADS threads, as in scan.wgsl.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> chunkStates: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> modes: array<vec4<f32>>;
//#operands

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let sequenceRow = control[QUERY_START + group.z];
    let length = control[QUERY_START + group.z + 1u] - sequenceRow;
    let firstToken = group.y * CHUNK;
    let channel = group.x * CHANNELS + thread / TEAM;
    let lane = thread % TEAM;
    if (firstToken + CHUNK >= length || channel >= WIDTH || lane >= MODES) { return; }
    let mode = channel * MODES + lane;
    let pole = modes[mode].xy;
    let firstRow = sequenceRow + firstToken;
    var s = vec2<f32>();
    for (var token = 0u; token < CHUNK; token += 8u) {
        //#advance
    }
    chunkStates[(firstChunk(sequenceRow) + group.y) * WIDTH * MODES + mode] = s;
}
