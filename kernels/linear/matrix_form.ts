// The form of linear for many rows on a GPU with matrix units: how it divides its work, and its WGSL written out.
import type { GpuCaps, MatrixFragment } from "../../device/caps.ts";
import { ELEMENTS_PER_16_BYTES, specialise, unroll } from "../wgsl.ts";
import type { WeightAccess } from "./weight_access.ts";
import matrixCode from "./matrix.wgsl" with { type: "text" };

/** How a workgroup divides its tile of the output. */
export interface MatrixForm {
  readonly fragment: MatrixFragment;
  /** Whether weight rows, and not rows of x, lie along the fragment's m: for fewer rows of x than m. */
  readonly swapped: boolean;
  /** Threads of a subgroup. */
  readonly lanes: number;
  /** Subgroups below and beside one another, and how many share the depth of each such part. */
  readonly subgroupsDown: number;
  readonly subgroupsAcross: number;
  readonly subgroupsDeep: number;
  /** Fragments of a subgroup's part, below and beside one another. */
  readonly fragmentsDown: number;
  readonly fragmentsAcross: number;
  /** Columns of x that go through workgroup memory at once. */
  readonly depth: number;
  /** Depths that are on their way from global memory meanwhile. */
  readonly ahead: 1 | 2;
}

/** Rows of x in a tile of any form, at most. */
export const MOST_TILE_ROWS = 128;

/** Rows of x in a fragment, and rows of the weight. */
function fragmentRows({ fragment, swapped }: MatrixForm): number {
  return swapped ? fragment.n : fragment.m;
}

function fragmentColumns({ fragment, swapped }: MatrixForm): number {
  return swapped ? fragment.m : fragment.n;
}

/** Rows of x in a tile. */
export function tileRows(form: MatrixForm): number {
  return form.subgroupsDown * form.fragmentsDown * fragmentRows(form);
}

/** Rows of the weight in a tile. */
export function tileColumns(form: MatrixForm): number {
  return form.subgroupsAcross * form.fragmentsAcross * fragmentColumns(form);
}

function threadsOf({ lanes, subgroupsDown, subgroupsAcross, subgroupsDeep }: MatrixForm): number {
  return lanes * subgroupsDown * subgroupsAcross * subgroupsDeep;
}

/** Fours of a row of a subgroup's part. */
function patchQuads(form: MatrixForm): number {
  return form.fragmentsAcross * fragmentColumns(form) / 4;
}

/** Workgroup memory of a form, in words: its tiles or, in the end, its patches of sums. */
function memoryWords(form: MatrixForm): number {
  const tiles = (tileRows(form) + tileColumns(form)) * (form.depth / 8 + 1);
  const patches = threadsOf(form) / form.lanes * fragmentRows(form) * (patchQuads(form) + 1);
  return Math.max(tiles, patches);
}

/** Whether the form can be written: x is stored for tiles as high, its weights and its sums divide evenly among the threads, and its memory suffices. */
export function canBeWritten(form: MatrixForm, { maxWorkgroupBytes, maxInvocations }: GpuCaps): boolean {
  const { lanes, subgroupsDeep, depth, fragment } = form, threads = threadsOf(form);
  const weightWords = [8, 16, 32].map((elements) => tileColumns(form) * depth / elements);
  return weightWords.every((count) => count % threads === 0 || threads % count === 0) && depth % 32 === 0 &&
    depth / fragment.k % subgroupsDeep === 0 && subgroupsDeep * lanes % patchQuads(form) === 0 &&
    tileRows(form) <= MOST_TILE_ROWS && threads <= maxInvocations &&
    memoryWords(form) * 16 <= maxWorkgroupBytes;
}

export interface MatrixSizes {
  readonly type: "f16" | "i8" | "i4";
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
 * @param access to the weight, see weight_access.ts
 * @param epilogue of whole fours, see epilogue.ts
 * @param range WGSL of the depths of this workgroup, firstStep and numSteps, and of the row of output that its rows are
 * counted from; all of them and 0 when undefined
 */
export function matrixFormCode(
  form: MatrixForm,
  sizes: MatrixSizes,
  access: WeightAccess,
  epilogue: string,
  range?: string,
): string {
  const { fragment, swapped, depth } = form;
  const rows = tileRows(form), columns = tileColumns(form);
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
    AHEAD: form.ahead,
    LANES: form.lanes,
    THREADS: threadsOf(form),
    SUBGROUPS_ACROSS: form.subgroupsAcross,
    SUBGROUPS_DOWN: form.subgroupsDown,
    SUBGROUP_ROWS: form.fragmentsDown * fragmentRows(form),
    SUBGROUP_COLUMNS: form.fragmentsAcross * fragmentColumns(form),
    FRAGMENT_ROWS: fragmentRows(form),
    FRAGMENT_M: fragment.m,
    FRAGMENT_N: fragment.n,
    FRAGMENT_K: fragment.k,
    MEMORY_WORDS: memoryWords(form),
  };
  const code = specialise(matrixCode, constants, {
    epilogue,
    range: range ?? WHOLE_RANGE,
    access: access.code,
    unpack: UNPACK[sizes.type],
    fragments: swapped
      ? "alias Rows = Right;\nalias Columns = Left;"
      : "alias Rows = Left;\nalias Columns = Right;",
    ...loopSnippets(form, stagingSnippets(form, sizes), productSnippets(form)),
    store: storeLines(form),
  });
  return `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
${code}`;
}

/** `fn halvesOf`: stored elements as halves. 1024 + n is a half with n as its last bits. */
const UNPACK: Record<MatrixSizes["type"], string> = {
  f16: "",
  i8: `fn halvesOf(bytes: u32) -> vec2<u32> {
    let shifted = bytes ^ 0x80808080u;
    let low = (shifted & 0xffu) | ((shifted & 0xff00u) << 8u) | 0x64006400u;
    let high = ((shifted >> 16u) & 0xffu) | ((shifted >> 8u) & 0xff0000u) | 0x64006400u;
    return vec2<u32>(
        bitcast<u32>(bitcast<vec2<f16>>(low) - vec2<f16>(1152.0h)),
        bitcast<u32>(bitcast<vec2<f16>>(high) - vec2<f16>(1152.0h)),
    );
}`,
  // Products of a q and its group's multiplier are whole numbers of at most 120, so nothing is rounded.
  i4: `fn pairOf(nibbles: u32, multiplier: vec2<f16>) -> u32 {
    let placed = ((nibbles & 0xfu) | ((nibbles & 0xf0u) << 12u)) ^ 0x64086408u;
    return bitcast<u32>((bitcast<vec2<f16>>(placed) - vec2<f16>(1032.0h)) * multiplier);
}
fn halvesOf(nibbles: u32, multiplier: vec2<f16>) -> vec4<u32> {
    return vec4<u32>(
        pairOf(nibbles, multiplier), pairOf(nibbles >> 8u, multiplier),
        pairOf(nibbles >> 16u, multiplier), pairOf(nibbles >> 24u, multiplier),
    );
}`,
};

interface Staging {
  /** Where a thread reads its share of the tiles, and the registers that hold it, once for each depth on its way. */
  readonly places: string;
  /** On to the next depth. */
  readonly advance: string;
  /** A thread's share on its way into the registers of a set, and from there into workgroup memory. */
  load(set: number): string;
  keep(set: number): string;
}

/**
 * The loop over depths, written out for each set of registers: loads are never moved from one set to another, which would
 * wait for them.
 */
function loopSnippets(
  { ahead }: MatrixForm,
  { places, advance, load, keep }: Staging,
  { sums, deep, multiply }: { sums: string; deep: string; multiply: string },
): Record<string, string> {
  const present = (set: number, lines: string) =>
    set === 0 ? lines : `if (step + ${set}u < numSteps) {\n${lines}\n}`;
  return {
    places,
    sums,
    deep,
    loadFirst: unroll(
      ahead,
      (set) => set === 0 ? load(0) : `if (${set}u < numSteps) {\n${advance}\n${load(set)}\n}`,
    ),
    steps: unroll(ahead, (set) =>
      present(
        set,
        `workgroupBarrier();
${keep(set)}
workgroupBarrier();
if (step + ${set + ahead}u < numSteps) {
${advance}
${load(set)}
}
${multiply}`,
      )),
  };
}

/** A thread's share of the tiles, which waits in registers while the tiles before it are multiplied. */
function stagingSnippets(form: MatrixForm, sizes: MatrixSizes): Staging {
  const { depth, ahead } = form, { type } = sizes, threads = threadsOf(form);
  const elements = ELEMENTS_PER_16_BYTES[type];
  const xWords = depth / 8, weightWords = depth / elements;
  const xCount = tileRows(form) * xWords, weightCount = tileColumns(form) * weightWords;
  const xLoads = Math.ceil(xCount / threads), weightLoads = Math.ceil(weightCount / threads);
  const guard = (count: number, i: number, line: string) =>
    (i + 1) * threads <= count ? line : `if (thread + ${i * threads}u < ${count}u) { ${line} }`;
  // A row of the weight may end within a depth: x is zero there, so that anything finite will do.
  const overruns = sizes.xWords * 8 / elements > sizes.weightWords;
  const within = (at: string, count: number) => overruns ? `min(${at}, ${count - 1}u)` : at;
  const loadWeight = (set: number, i: number) =>
    `heldWeight${set}_${i} = weight[${
      within(`weightRow${i} * WEIGHT_WORDS + weightWord${i}`, sizes.shardRows * sizes.weightWords)
    }];${
      // The 32 elements of a word are a group.
      type === "i4"
        ? `\nmultiplier${set}_${i} = multiplierOf(weightRow${i}, ${
          within(`weightWord${i}`, sizes.weightWords)
        }, WEIGHT_WORDS);`
        : ""}`;
  return {
    places: [
      unroll(xLoads, (i) =>
        `let xPlace${i} = thread + ${i * threads}u;
var xAt${i} = (tile.y * ROWS + xPlace${i} / ${xWords}u) * X_WORDS + xPlace${i} % ${xWords}u + firstStep * ${xWords}u;
${unroll(ahead, (set) => `var held${set}_${i} = vec4<u32>();`)}`),
      unroll(weightLoads, (i) =>
        `let weightPlace${i} = thread + ${i * threads}u;
let weightRow${i} = min(tile.x * COLUMNS + weightPlace${i} / ${weightWords}u, SHARD_ROWS - 1u);
var weightWord${i} = weightPlace${i} % ${weightWords}u + firstStep * ${weightWords}u;
${
          unroll(ahead, (set) =>
            `var heldWeight${set}_${i} = vec4<u32>();${
              type === "i4" ? `\nvar multiplier${set}_${i} = 0.0;` : ""
            }`)
        }`),
    ].join("\n"),
    advance: [
      unroll(xLoads, (i) => `xAt${i} += ${xWords}u;`),
      unroll(weightLoads, (i) => `weightWord${i} += ${weightWords}u;`),
    ].join("\n"),
    load: (set) =>
      [
        unroll(xLoads, (i) => guard(xCount, i, `held${set}_${i} = x[xAt${i}];`)),
        unroll(weightLoads, (i) => guard(weightCount, i, loadWeight(set, i))),
      ].join("\n"),
    keep: (set) =>
      [
        unroll(xLoads, (i) =>
          guard(
            xCount,
            i,
            `memory[xPlace${i} / ${xWords}u * STRIDE + xPlace${i} % ${xWords}u] = held${set}_${i};`,
          )),
        unroll(weightLoads, (i) => guard(weightCount, i, keepWeight(type, set, i, weightWords))),
      ].join("\n"),
  };
}

/** The held word of a weight, as halves in its place of the tile. */
function keepWeight(type: MatrixSizes["type"], set: number, i: number, weightWords: number): string {
  const words = ELEMENTS_PER_16_BYTES[type] / 8, held = `heldWeight${set}_${i}`;
  const at =
    `WEIGHT_TILE + weightPlace${i} / ${weightWords}u * STRIDE + ${words}u * (weightPlace${i} % ${weightWords}u)`;
  switch (type) {
    case "f16":
      return `memory[${at}] = ${held};`;
    case "i8":
      return `{ let at = ${at};
memory[at] = vec4<u32>(halvesOf(${held}.x), halvesOf(${held}.y));
memory[at + 1u] = vec4<u32>(halvesOf(${held}.z), halvesOf(${held}.w)); }`;
    case "i4":
      return `{ let at = ${at}; let multiplier = vec2<f16>(f16(multiplier${set}_${i}));
${unroll(4, (word) => `memory[at + ${word}u] = halvesOf(${held}.${"xyzw"[word]}, multiplier);`)} }`;
  }
}

function productSnippets(form: MatrixForm): { sums: string; deep: string; multiply: string } {
  const { fragment: { k }, swapped, fragmentsDown, fragmentsAcross, subgroupsDeep, depth } = form;
  const rows = fragmentRows(form), columns = fragmentColumns(form);
  const [rowsMajor, columnsMajor] = swapped ? ["col_major", "row_major"] : ["row_major", "col_major"];
  const slices = depth / k / subgroupsDeep;
  const word = (s: number) => subgroupsDeep === 1 ? `${s * k / 8}u` : `deepWord + ${s * k / 8}u`;
  const slice = (s: number) =>
    [
      "{",
      unroll(fragmentsDown, (i) =>
        `let rows${i} = subgroupMatrixLoad<Rows, ${rowsMajor}>(&memory, (subgroupRow + ${
          i * rows
        }u) * STRIDE + ${word(s)}, STRIDE);`),
      unroll(fragmentsAcross, (j) =>
        `let columns${j} = subgroupMatrixLoad<Columns, ${columnsMajor}>(&memory, WEIGHT_TILE + (subgroupColumn + ${
          j * columns
        }u) * STRIDE + ${word(s)}, STRIDE);
${
          unroll(fragmentsDown, (i) =>
            `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(${
              swapped ? `columns${j}, rows${i}` : `rows${i}, columns${j}`
            }, sum${i}_${j});`)
        }`),
      "}",
    ].join("\n");
  return {
    sums: unroll(fragmentsDown, (i) => unroll(fragmentsAcross, (j) => `var sum${i}_${j} = Sum();`)),
    deep: subgroupsDeep === 1 ? "" : `let deepWord = deep * ${slices * k / 8}u;`,
    multiply: unroll(slices, slice),
  };
}

/**
 * Fragments cannot be read by element: row by row of fragments they pass through the subgroups' patches. Subgroups that
 * share the depth add theirs up, each a share of the patch.
 */
function storeLines(form: MatrixForm): string {
  const { swapped, lanes, fragmentsDown, fragmentsAcross, subgroupsDown, subgroupsAcross, subgroupsDeep } =
    form;
  const rows = fragmentRows(form), quads = patchQuads(form), columns = fragmentColumns(form);
  const places = rows * quads, sharers = subgroupsDeep * lanes, passes = Math.ceil(places / sharers);
  const deepStride = subgroupsDown * subgroupsAcross * rows * (quads + 1);
  const store = (i: number, j: number) =>
    `subgroupMatrixStore<${swapped ? "col_major" : "row_major"}>(&memory, patchAt + deep * ${deepStride}u + ${
      j * columns / 4
    }u, sum${i}_${j}, PATCH_STRIDE);`;
  const sum = Array.from(
    { length: subgroupsDeep },
    (_, d) => `bitcast<vec4<f32>>(memory[patchAt + patchRow * PATCH_STRIDE + quad + ${d * deepStride}u])`,
  ).join(" + ");
  const finish = (i: number, pass: number) =>
    `{ let patchRow = (deep * LANES + lane) / PATCH_QUADS + ${pass * sharers / quads}u;
let row = tile.y * ROWS + subgroupRow + ${i * rows}u + patchRow;
if (row < numRows${
      (pass + 1) * sharers <= places ? "" : ` && patchRow < ${rows}u`
    }) { finish((firstOutputRow + row) * OUTPUT_QUADS + (FIRST_COLUMN + column) / 4u, terms, ${sum}); } }`;
  return unroll(fragmentsDown, (i) =>
    `workgroupBarrier();
${unroll(fragmentsAcross, (j) => store(i, j))}
workgroupBarrier();
if (column < SHARD_ROWS) {
${unroll(passes, (pass) => finish(i, pass))}
}`);
}
