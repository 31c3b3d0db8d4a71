// Keeps what transformed sums are at their outputs. Tiles as in transformed_gather.wgsl.
// signal f32 [channels][SIGNAL_STRIDE]; kept f32 [places][WINDOW][WIDTH].
// Grid: x = WINDOW / 32, y = ceil(WIDTH / 32), z = sums; 256 threads.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> signal: array<f32>;
@group(0) @binding(2) var<storage, read_write> kept: array<f32>;

/** [channel][row], a row more than there are, so that a row's channels lie in different banks. */
var<workgroup> tile: array<f32, 32 * 33>;

//#keptAt

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let record = TRANSFORMS + group.z * TRANSFORM_WORDS;
    let firstInput = control[record];
    let firstOutput = control[record + 2u];
    let endOutput = control[record + 3u];
    let sequence = control[record + 4u] / 2u;
    let adds = control[record + 4u] % 2u == 1u;
    let firstRow = control[TRANSFORM_STARTS + group.z];
    let lane = thread % 32u;
    let line = thread / 32u;
    {
        let output = firstOutput + 32u * group.x + lane;
        //#read
    }
    workgroupBarrier();
    {
        let channel = 32u * group.y + lane;
        //#write
    }
}
