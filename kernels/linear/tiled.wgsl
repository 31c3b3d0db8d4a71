// linear for many rows: y[r][n] = epilogue(sum over k of x[r][k] * weight[n][k]), one 64 x 64 tile of y a workgroup.
// x f32 [rows, 4 * rowQuads]; weight [shardRows, 4 * rowQuads] in f32, f16, i8 or i4: one shard, whose row 0 is output
// column firstColumn. Both are zero beyond their width. Sizes come in a uniform, so that layers share the pipeline.
// Grid: x = ceil(shardRows / 64), y = ceil(rows / 64). 16 x 16 threads of 4 x 4 outputs. 16 KB of workgroup memory.
// Reference: linearReference. Every output is summed over k in ascending order, whatever the number of rows.

@group(0) @binding(0) var<storage, read> control: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weight: array<Word>;
@group(0) @binding(3) var<uniform> sizes: Sizes;
//#access
//#epilogue

struct Sizes {
    // Word of the control buffer that holds the number of rows.
    numRowsWord: u32,
    rowQuads: u32,
    shardRows: u32,
    firstColumn: u32,
    outputStride: u32,
}

// Both tiles lie [k][row quad], so that a thread reads its four rows at once. The row quad is xored with k / 4: threads
// that store neighbouring k then hit different banks.
var<workgroup> xTile: array<vec4<f32>, 512>;
var<workgroup> weightTile: array<vec4<f32>, 512>;

fn loadX(row: u32, k: u32, numRows: u32) -> vec4<f32> {
    return x[min(row, numRows - 1u) * sizes.rowQuads + k];
}

//#loadWeight

@compute @workgroup_size(16, 16)
fn main(
    @builtin(workgroup_id) tile: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let numRows = control[sizes.numRowsWord];
    let rowQuad = tile.y * 16u + local.y;
    let columnQuad = tile.x * 16u + local.x;
    let tx = local.x;
    let ty = local.y;
    // Threads 0 to 127 bring x, the others the weight: each a block of four rows at four neighbouring k.
    let bringsX = thread < 128u;
    let loadQuad = (thread / 8u) % 16u;
    let loadK = thread % 8u;
    let loadRow = select(tile.x, tile.y, bringsX) * 64u + 4u * loadQuad;
    let storeAt = loadK * 64u + (loadQuad ^ loadK);

    var y0 = vec4<f32>();
    var y1 = vec4<f32>();
    var y2 = vec4<f32>();
    var y3 = vec4<f32>();
    for (var k = 0u; k < sizes.rowQuads; k += 8u) {
        // Four rows at four neighbouring k; zeros past the end of the rows.
        var r0 = vec4<f32>();
        var r1 = vec4<f32>();
        var r2 = vec4<f32>();
        var r3 = vec4<f32>();
        if (k + loadK < sizes.rowQuads) {
            if (bringsX) {
                r0 = loadX(loadRow, k + loadK, numRows);
                r1 = loadX(loadRow + 1u, k + loadK, numRows);
                r2 = loadX(loadRow + 2u, k + loadK, numRows);
                r3 = loadX(loadRow + 3u, k + loadK, numRows);
            } else {
                r0 = loadWeight(min(loadRow, sizes.shardRows - 1u), k + loadK);
                r1 = loadWeight(min(loadRow + 1u, sizes.shardRows - 1u), k + loadK);
                r2 = loadWeight(min(loadRow + 2u, sizes.shardRows - 1u), k + loadK);
                r3 = loadWeight(min(loadRow + 3u, sizes.shardRows - 1u), k + loadK);
            }
        }
        workgroupBarrier();
        if (bringsX) {
            xTile[storeAt] = vec4<f32>(r0.x, r1.x, r2.x, r3.x);
            xTile[storeAt + 16u] = vec4<f32>(r0.y, r1.y, r2.y, r3.y);
            xTile[storeAt + 32u] = vec4<f32>(r0.z, r1.z, r2.z, r3.z);
            xTile[storeAt + 48u] = vec4<f32>(r0.w, r1.w, r2.w, r3.w);
        } else {
            weightTile[storeAt] = vec4<f32>(r0.x, r1.x, r2.x, r3.x);
            weightTile[storeAt + 16u] = vec4<f32>(r0.y, r1.y, r2.y, r3.y);
            weightTile[storeAt + 32u] = vec4<f32>(r0.z, r1.z, r2.z, r3.z);
            weightTile[storeAt + 48u] = vec4<f32>(r0.w, r1.w, r2.w, r3.w);
        }
        workgroupBarrier();
        // A step of one row then costs four rows of arithmetic, not 64.
        if (4u * rowQuad < numRows) {
            for (var quad = 0u; quad < 8u; quad++) {
                let xAt = quad * 64u + (ty ^ quad);
                let weightAt = quad * 64u + (tx ^ quad);
                //#multiply
            }
        }
    }
    // A loop, because sixteen copies of the epilogue take some compilers minutes.
    var sums = array<vec4<f32>, 4>(y0, y1, y2, y3);
    for (var i = 0u; i < 16u; i++) {
        let row = 4u * rowQuad + i / 4u;
        let column = 4u * columnQuad + i % 4u;
        if (row < numRows && column < sizes.shardRows) {
            let outputColumn = sizes.firstColumn + column;
            let at = row * sizes.outputStride + outputColumn;
            finish(at, termsOf(at, outputColumn), sums[i / 4u][i % 4u]);
        }
    }
}
