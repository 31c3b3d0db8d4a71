// rotary: y = x with pairs of columns turned by position; x, y f32 [rows, STRIDE], turns f32 [positions, TURNED] with cosine
// and sine of each pair side by side. The first TURNED columns of the first HEADS heads are turned, columns j and
// j + TURNED / 2 of a head together; a column a thread.
// Grid: x = ceil(WIDTH / 64), y = rows folded at 65535 into z. Reference: rotaryReference.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> turns: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

const PAIRS = TURNED / 2u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.z * 65535u + group.y;
    let column = group.x * 64u + thread;
    if (row >= control[NUM_TOKENS] || column >= WIDTH) { return; }
    let at = row * STRIDE + column;
    let inHead = column % HEAD_SIZE;
    if (column >= HEADS * HEAD_SIZE || inHead >= TURNED) {
        y[at] = x[at];
        return;
    }
    let turn = control[POSITIONS + row] * TURNED + 2u * (inHead % PAIRS);
    let isSecond = inHead >= PAIRS;
    let partner = x[select(at + PAIRS, at - PAIRS, isSecond)];
    y[at] = fma(x[at], turns[turn], select(-partner, partner, isSecond) * turns[turn + 1u]);
}
