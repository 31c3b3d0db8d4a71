// Diagonal SSM over one chunk of a sequence's rows, token after token: a thread keeps the state of one mode of one channel
// in registers, TEAM threads a channel. What the modes contribute to TILE tokens is collected in workgroup memory and then
// summed, so that there is a barrier for every few tokens only.
// x, gate, y f32 [tokens][stride of each]; modes [WIDTH][MODES] of [pole, residue], complex; states complex [slots][WIDTH][MODES];
// skip f32 [WIDTH]. A sequence of more than CHUNK tokens gets the states that its chunks begin with from chunkStates
// (combine.wgsl); its last chunk leaves the state that it ends with, and any chunk those that are kept on the way.
// Grid: x = ceil(WIDTH / CHANNELS), y = chunks, z = sequences; THREADS threads. Reference: diagonalSsmReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> states: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> modes: array<vec4<f32>>;
//#operands

const OUTPUTS = TILE * CHANNELS;
/** [token][channel] */
var<workgroup> inputs: array<f32, OUTPUTS>;
/** [token][channel][mode], a place more than there are, so that the sums of neighbours read different banks. */
var<workgroup> contributions: array<f32, OUTPUTS * (TEAM + 1u)>;

/** Input `output` of the tile that begins with `token` of the chunk; zero where there is none. */
fn inputOf(output: u32, token: u32, numTokens: u32, firstRow: u32, firstChannel: u32) -> f32 {
    let own = token + output / CHANNELS;
    let channel = firstChannel + output % CHANNELS;
    if (output >= OUTPUTS || own >= numTokens || channel >= WIDTH) { return 0.0; }
    return x(firstRow + own, channel);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let sequenceRow = control[QUERY_START + group.z];
    let length = control[QUERY_START + group.z + 1u] - sequenceRow;
    let firstToken = group.y * CHUNK;
    if (firstToken >= length) { return; }
    let numTokens = min(CHUNK, length - firstToken);
    let firstRow = sequenceRow + firstToken;
    let firstChannel = group.x * CHANNELS;
    let team = thread / TEAM;
    let lane = thread % TEAM;
    let channel = firstChannel + team;
    let present = channel < WIDTH && lane < MODES;
    let mode = channel * MODES + lane;
    let ownState = control[STATE_SLOTS + group.z] * WIDTH * MODES + mode;
    var pole = vec2<f32>();
    var residue = vec2<f32>();
    var s = vec2<f32>();
    if (present) {
        pole = modes[mode].xy;
        residue = modes[mode].zw;
        if (length > CHUNK) {
            //#chunkState
        } else if (control[POSITIONS + sequenceRow] > 0u) {
            s = states[ownState];
        }
    }
    //#firstInputs
    //#firstKept
    for (var token = 0u; token < numTokens; token += TILE) {
        //#shareInputs
        workgroupBarrier();
        //#nextInputs
        //#advance
        workgroupBarrier();
        //#outputs
    }
    if (present && firstToken + numTokens == length) { states[ownState] = s; }
}
