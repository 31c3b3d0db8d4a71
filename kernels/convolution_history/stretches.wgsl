// What earlier inputs of a sequence add to TILE rows in a row of it, directly: sum over j of taps[t - j] history[j], for j from
// `oldest` to before `end`, a channel a thread. The tile's sums stay in registers; of a block of 16 inputs and the TILE + 15
// taps between them and the rows each is read once, along lines of neighbouring channels. The block's products are written
// out; LINES threads of a channel take every LINESth block, and add up at the end. Which rows and inputs these are, and
// where sums go, is the caller's (sum_calls.ts).
// history [slots][WORDS]; taps f32 [TAPS][channels of the slice] by lag; sums f32.
// Grid: x = channels of the slice / 64, y and z as the caller divides the work; 64 LINES threads.
// Reference: convolutionHistoryReference.

struct Slice { firstChannel: u32, numChannels: u32 }

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> history: array<u32>;
@group(0) @binding(2) var<storage, read> taps: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;
@group(0) @binding(4) var<uniform> slice: Slice;
//#bindings

/** [line after the first][row of the tile][channel] */
var<workgroup> others: array<f32, (LINES - 1u) * TILE * 64u>;

//#stored

/** Zero where the slot holds something else by now, or nothing. */
fn inputAt(slot: u32, channel: u32, known: bool) -> f32 {
    return select(0.0, stored(slot, channel), known);
}

/** Zero beyond the filter, and before lag 0, where `lag` wraps. */
fn tapAt(lag: u32, column: u32) -> f32 {
    return select(0.0, taps[min(lag, TAPS - 1u) * slice.numChannels + column], lag < TAPS);
}

/** The first input that a filter reaches from `position`. */
fn farthest(position: u32) -> u32 {
    return select(0u, position - (TAPS - 1u), position >= TAPS);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let line = thread / 64u;
    let lane = thread % 64u;
    let column = min(64u * group.x + lane, slice.numChannels - 1u);
    let channel = slice.firstChannel + column;
    //#range
    let table = BLOCK_TABLES + sequence * BLOCK_TABLE_STRIDE;
    //#declare
    for (var block = oldest / BLOCK_SIZE + line; block * BLOCK_SIZE < end; block += LINES) {
        let start = block * BLOCK_SIZE;
        let slot = control[table + block] * BLOCK_SIZE;
        let lag = position - start - (BLOCK_SIZE - 1u);
        //#block
    }
    if (line > 0u) {
        let at = (line - 1u) * TILE * 64u + lane;
        //#give
    }
    workgroupBarrier();
    if (line > 0u || 64u * group.x + lane >= slice.numChannels) { return; }
    //#take
}
