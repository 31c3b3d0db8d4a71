// The WGSL of linear for many rows on a GPU with matrix units (matrix.wgsl), written out for a form of matrix_form.ts.
import { specialise, unroll } from "../wgsl.ts";
import {
  fragmentColumns,
  fragmentRows,
  type MatrixForm,
  type MatrixSizes,
  memoryWords,
  patchQuads,
  threadsOf,
  tileColumns,
  tileRows,
} from "./matrix_form.ts";
import { type Staging, stagingSnippets, UNPACK } from "./matrix_staging.ts";
import type { WeightAccess } from "./weight_access.ts";
import matrixCode from "./matrix.wgsl" with { type: "text" };

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
