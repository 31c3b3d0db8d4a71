// The form of linear for many rows on a GPU with matrix units: how it divides its work, and its WGSL written out.
import type { GpuCaps, MatrixFragment } from "../../device/caps.ts";
import { ELEMENTS_PER_16_BYTES, specialise, unroll } from "../wgsl.ts";
import matrixCode from "./matrix.wgsl" with { type: "text" };

/** How a workgroup divides its tile of the output. */
export interface MatrixForm {
  readonly fragment: MatrixFragment;
  /** Threads of a subgroup. */
  readonly lanes: number;
  /** Subgroups below and beside one another. */
  readonly subgroupsDown: number;
  readonly subgroupsAcross: number;
  /** Fragments of a subgroup's part, below and beside one another. */
  readonly fragmentsDown: number;
  readonly fragmentsAcross: number;
  /** Columns of x that go through workgroup memory at once. */
  readonly depth: number;
}

/** Rows of x in a tile. */
export function tileRows({ fragment, subgroupsDown, fragmentsDown }: MatrixForm): number {
  return subgroupsDown * fragmentsDown * fragment.m;
}

/** Rows of the weight in a tile. */
export function tileColumns({ fragment, subgroupsAcross, fragmentsAcross }: MatrixForm): number {
  return subgroupsAcross * fragmentsAcross * fragment.n;
}

/** Whether every thread has as much to bring to the tiles, and to store, as any other: else the form cannot be written. */
export function isEven(form: MatrixForm): boolean {
  const { fragment, lanes, fragmentsAcross, depth } = form, threads = threadsOf(form);
  const words = [tileRows(form) * depth / 8, tileColumns(form) * depth / 8, tileColumns(form) * depth / 16];
  return words.every((count) => count % threads === 0) &&
    fragment.m * fragmentsAcross * fragment.n / 4 % lanes === 0;
}

function threadsOf({ lanes, subgroupsDown, subgroupsAcross }: MatrixForm): number {
  return lanes * subgroupsDown * subgroupsAcross;
}

/** Workgroups that keep a large GPU busy: with fewer, smaller tiles are faster. WebGPU does not say how many cores it has. */
const ENOUGH_WORKGROUPS = 100;

/**
 * From the largest tile to the smallest; undefined without matrix units, or with fragments too small for these forms.
 * 4 x 4 fragments a subgroup where there are rows enough: with fewer, reading fragments takes longer than multiplying
 * them.
 */
export function matrixForms({ matrixFragment, subgroupMaxSize }: GpuCaps): MatrixForm[] | undefined {
  if (!matrixFragment) return undefined;
  const shared = { fragment: matrixFragment, lanes: subgroupMaxSize, subgroupsDown: 2 };
  const form = (subgroupsAcross: number, fragments: number, slices: number): MatrixForm => ({
    ...shared,
    subgroupsAcross,
    fragmentsDown: fragments,
    fragmentsAcross: fragments,
    depth: slices * matrixFragment.k,
  });
  const forms = [form(4, 4, 2), form(2, 4, 2), form(2, 2, 4)];
  return forms.every(isEven) ? forms : undefined;
}

/** Workgroups of a form, [across, down]. */
export function matrixGrid(form: MatrixForm, shardRows: number, rows: number): [number, number] {
  return [Math.ceil(shardRows / tileColumns(form)), Math.ceil(rows / tileRows(form))];
}

/** The form of `forms` for a product of this size: the largest whose tiles are enough; undefined if none's are. */
export function chooseForm(
  forms: readonly MatrixForm[],
  shardRows: number,
  rows: number,
): MatrixForm | undefined {
  return forms.find((form) => {
    const [across, down] = matrixGrid(form, shardRows, rows);
    return across * down >= ENOUGH_WORKGROUPS;
  });
}

export interface MatrixSizes {
  readonly type: "f16" | "i8";
  /** Word of the control buffer that holds the number of rows. */
  readonly numRowsWord: number;
  /** 16-byte words of a row of x, a multiple of the form's depth, and of the weight. */
  readonly xWords: number;
  readonly weightWords: number;
  readonly shardRows: number;
  readonly firstColumn: number;
  /** Fours of a row of the output. */
  readonly outputQuads: number;
}

const WHOLE_RANGE = `    let firstStep = 0u;
    let numSteps = STEPS;
    let firstOutputRow = 0u;`;

/**
 * Complete WGSL.
 * @param epilogue of whole fours, see epilogue.ts
 * @param range WGSL of the depths of this workgroup, firstStep and numSteps, and of the row of output that its rows are
 * counted from; all of them and 0 when undefined
 */
export function matrixFormCode(
  form: MatrixForm,
  sizes: MatrixSizes,
  epilogue: string,
  range?: string,
): string {
  const { fragment, depth } = form;
  const rows = tileRows(form), columns = tileColumns(form), threads = threadsOf(form);
  const subgroups = form.subgroupsDown * form.subgroupsAcross;
  const patchWords = fragment.m * (form.fragmentsAcross * fragment.n / 4 + 1);
  const constants = {
    NUM_ROWS: sizes.numRowsWord,
    X_WORDS: sizes.xWords,
    WEIGHT_WORDS: sizes.weightWords,
    SHARD_ROWS: sizes.shardRows,
    FIRST_COLUMN: sizes.firstColumn,
    OUTPUT_QUADS: sizes.outputQuads,
    STEPS: sizes.xWords * 8 / depth,
    ROWS: rows,
    COLUMNS: columns,
    DEPTH: depth,
    THREADS: threads,
    SUBGROUPS_ACROSS: form.subgroupsAcross,
    SUBGROUP_ROWS: form.fragmentsDown * fragment.m,
    SUBGROUP_COLUMNS: form.fragmentsAcross * fragment.n,
    FRAGMENT_M: fragment.m,
    FRAGMENT_N: fragment.n,
    FRAGMENT_K: fragment.k,
    MEMORY_WORDS: Math.max((rows + columns) * (depth / 8 + 1), subgroups * patchWords),
  };
  const code = specialise(matrixCode, constants, {
    epilogue,
    range: range ?? WHOLE_RANGE,
    unpack: sizes.type === "i8" ? UNPACK_BYTES : "",
    ...stagingSnippets(form, sizes),
    ...productSnippets(form),
    store: storeLines(form),
  });
  return `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
${code}`;
}

/** 1024 + byte is a half with the byte as its last bits. */
const UNPACK_BYTES = `fn halvesOf(bytes: u32) -> vec2<u32> {
    let shifted = bytes ^ 0x80808080u;
    let low = (shifted & 0xffu) | ((shifted & 0xff00u) << 8u) | 0x64006400u;
    let high = ((shifted >> 16u) & 0xffu) | ((shifted >> 8u) & 0xff0000u) | 0x64006400u;
    return vec2<u32>(
        bitcast<u32>(bitcast<vec2<f16>>(low) - vec2<f16>(1152.0h)),
        bitcast<u32>(bitcast<vec2<f16>>(high) - vec2<f16>(1152.0h)),
    );
}`;

/** A thread's share of the tiles, which waits in registers while the tiles before it are multiplied. */
function stagingSnippets(form: MatrixForm, sizes: MatrixSizes): Record<string, string> {
  const { depth } = form, threads = threadsOf(form);
  const elements = ELEMENTS_PER_16_BYTES;
  const xWords = depth / 8, weightWords = depth / elements[sizes.type];
  const xLoads = tileRows(form) * xWords / threads, weightLoads = tileColumns(form) * weightWords / threads;
  // A row of the weight may end within a depth: x is zero there, so that anything finite will do.
  const overruns = sizes.xWords * 8 / elements[sizes.type] > sizes.weightWords;
  const lastWord = sizes.shardRows * sizes.weightWords - 1;
  const weightAt = (i: number) => overruns ? `min(weightAt${i}, ${lastWord}u)` : `weightAt${i}`;
  return {
    places: [
      unroll(xLoads, (i) =>
        `let xPlace${i} = thread + ${i * threads}u;
var xAt${i} = (tile.y * ROWS + xPlace${i} / ${xWords}u) * X_WORDS + xPlace${i} % ${xWords}u + firstStep * ${xWords}u;
var held${i} = vec4<u32>();`),
      unroll(weightLoads, (i) =>
        `let weightPlace${i} = thread + ${i * threads}u;
var weightAt${i} = min(tile.x * COLUMNS + weightPlace${i} / ${weightWords}u, SHARD_ROWS - 1u) * WEIGHT_WORDS + weightPlace${i} % ${weightWords}u + firstStep * ${weightWords}u;
var heldWeight${i} = vec4<u32>();`),
    ].join("\n"),
    load: [
      unroll(xLoads, (i) => `held${i} = x[xAt${i}];`),
      unroll(weightLoads, (i) => `heldWeight${i} = weight[${weightAt(i)}];`),
    ].join("\n"),
    advance: [
      unroll(xLoads, (i) => `xAt${i} += ${xWords}u;`),
      unroll(weightLoads, (i) => `weightAt${i} += ${weightWords}u;`),
    ].join("\n"),
    keep: [
      unroll(xLoads, (i) => `memory[xPlace${i} / ${xWords}u * STRIDE + xPlace${i} % ${xWords}u] = held${i};`),
      unroll(weightLoads, (i) => {
        const at =
          `WEIGHT_TILE + weightPlace${i} / ${weightWords}u * STRIDE + weightPlace${i} % ${weightWords}u`;
        return sizes.type === "f16"
          ? `memory[${at}] = heldWeight${i};`
          : `{ let at = WEIGHT_TILE + weightPlace${i} / ${weightWords}u * STRIDE + 2u * (weightPlace${i} % ${weightWords}u);
memory[at] = vec4<u32>(halvesOf(heldWeight${i}.x), halvesOf(heldWeight${i}.y));
memory[at + 1u] = vec4<u32>(halvesOf(heldWeight${i}.z), halvesOf(heldWeight${i}.w)); }`;
      }),
    ].join("\n"),
  };
}

function productSnippets(form: MatrixForm): Record<string, string> {
  const { fragment: { m, n, k }, fragmentsDown, fragmentsAcross, depth } = form;
  const slice = (s: number) =>
    [
      "{",
      unroll(fragmentsDown, (i) =>
        `let left${i} = subgroupMatrixLoad<Left, row_major>(&memory, (subgroupRow + ${i * m}u) * STRIDE + ${
          s * k / 8
        }u, STRIDE);`),
      unroll(fragmentsAcross, (j) =>
        `let right${j} = subgroupMatrixLoad<Right, col_major>(&memory, WEIGHT_TILE + (subgroupColumn + ${
          j * n
        }u) * STRIDE + ${s * k / 8}u, STRIDE);
${
          unroll(fragmentsDown, (i) =>
            `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(left${i}, right${j}, sum${i}_${j});`)
        }`),
      "}",
    ].join("\n");
  return {
    sums: unroll(fragmentsDown, (i) => unroll(fragmentsAcross, (j) => `var sum${i}_${j} = Sum();`)),
    multiply: unroll(depth / k, slice),
  };
}

/** Fragments cannot be read by element: row by row of fragments they pass through the subgroup's patch. */
function storeLines({ fragment, lanes, fragmentsDown, fragmentsAcross }: MatrixForm): string {
  const quads = fragmentsAcross * fragment.n / 4;
  const passes = fragment.m * quads / lanes;
  return unroll(fragmentsDown, (i) =>
    `workgroupBarrier();
${
      unroll(fragmentsAcross, (j) =>
        `subgroupMatrixStore<row_major>(&memory, patchAt + ${
          j * fragment.n / 4
        }u, sum${i}_${j}, PATCH_STRIDE);`)
    }
workgroupBarrier();
if (column < SHARD_ROWS) {
${
      unroll(passes, (pass) =>
        `{ let patchRow = lane / PATCH_QUADS + ${pass * lanes / quads}u;
let row = tile.y * ROWS + subgroupRow + ${i * fragment.m}u + patchRow;
if (row < numRows) { finish((firstOutputRow + row) * OUTPUT_QUADS + (FIRST_COLUMN + column) / 4u, terms, bitcast<vec4<f32>>(memory[patchAt + patchRow * PATCH_STRIDE + quad])); } }`)
    }
}`);
}
