// The states that a sequence's chunks begin with, from those that they would end with: s <- pole^CHUNK s + end, chunk
// after chunk. A thread has one mode of one channel. The power is made by as many multiplications as the chunk has tokens:
// squaring would double its error at every step.
// Buffers as in ends.wgsl; states complex [slots][WIDTH][MODES].
// Grid: x = ceil(WIDTH MODES / 64), y = sequences; 64 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> chunkStates: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> modes: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> states: array<vec2<f32>>;
//#declarations

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let sequenceRow = control[QUERY_START + group.y];
    let length = control[QUERY_START + group.y + 1u] - sequenceRow;
    let mode = 64u * group.x + thread;
    if (length <= CHUNK || mode >= WIDTH * MODES) { return; }
    let pole = modes[mode].xy;
    var power = pole;
    for (var i = 1u; i < CHUNK; i++) { power = times(power, pole); }
    var s = vec2<f32>();
    if (control[POSITIONS + sequenceRow] > 0u) {
        s = states[control[STATE_SLOTS + group.y] * WIDTH * MODES + mode];
    }
    let first = firstChunk(sequenceRow) * WIDTH * MODES + mode;
    let numChunks = (length + CHUNK - 1u) / CHUNK;
    for (var chunk = 0u; chunk < numChunks; chunk++) {
        let at = first + chunk * WIDTH * MODES;
        let end = chunkStates[at];
        chunkStates[at] = s;
        s = times(power, s) + end;
    }
}
