// Writes the WGSL of the few-rows form of linear: loads and products of the loop body spelled out for its division of
// work, with x as it lies or brought into workgroup memory first.
import { GROUP } from "../int4.ts";
import { ELEMENTS_PER_16_BYTES, quadOfInt4, quadOfWord, quadSnippet, specialise, unroll } from "../wgsl.ts";
import type { Epilogue } from "./epilogue.ts";
import code from "./gemv.wgsl" with { type: "text" };
import type { GemvForm } from "./gemv_form.ts";
import type { RowStage } from "./row_stage.ts";
import { multiplyFixedPoint } from "./fixed_point.ts";
import { sumShares, teamPlace, teamSum, teamThreads } from "./team_sum.ts";
import type { WeightAccess } from "./weight_access.ts";
import type { WholeEnd } from "./whole_numbers.ts";

/** Up to this many sums a thread keeps four partial sums of each, which do not wait for one another. */
const MOST_WIDE_SUMS = 4;

/** The kernel for one shard; `stage` where x goes through workgroup memory, `end` where the output is left as whole numbers. */
export function gemvCode(
  form: GemvForm,
  constants: Readonly<Record<string, number>>,
  access: WeightAccess,
  epilogue: Epilogue,
  stage?: RowStage,
  end?: WholeEnd,
): string {
  const sum = teamSum(form);
  const specialised = specialise(code, {
    ...constants,
    THREADS: form.threads,
    LANES: form.lanes,
    PARTS: form.parts,
    TEAM_ROWS: form.teamRows,
    MAX_ROWS: form.maxRows,
    SUM_SHARES: sumShares(form),
    WORDS_PER_ROW: form.wordsPerRow,
  }, {
    epilogue: `${epilogue.code}\n${end?.code ?? ""}`,
    finish: end?.finish ?? "finish(outputAt, terms, sum);",
    leave: end?.leave ?? "",
    access: access.code,
    word: `${wordAlias(form)}\nalias X = ${stage?.x ?? "vec4<f32>"};`,
    stage: stage?.code ?? "",
    memory: sum.memory,
    threads: teamThreads(form),
    place: teamPlace(form),
    accumulators: eachSum(
      form,
      (row, r) => `    var y${row}_${r} = ${isWide(form) ? "vec4<f32>()" : "0.0"};`,
    ),
    product: stage ? stagedProduct(form, stage) : directProduct(form),
    reduce: `${
      eachSum(form, (row, r) =>
        `    let v${row * form.teamRows + r} = ${
          isWide(form) ? `dot(y${row}_${r}, vec4<f32>(1.0))` : `y${row}_${r}`
        };`)
    }\n${sum.code}`,
    joinShares: unroll(
      form.parts * sumShares(form) - 1,
      (i) => `        sum += sums[firstSum + ${i + 1}u * VALUES];`,
    ),
  });
  return form.subgroups ? `enable subgroups;\n${specialised}` : specialised;
}

function wordAlias(form: GemvForm): string {
  if (isWideWord(form)) return "alias Word = vec4<u32>;";
  return form.type === "i4" ? "alias Word = u32;" : `${quadSnippet(form.type)}\nalias Word = Quad;`;
}

/** Words of 16 bytes, or of four elements (of int4: eight). */
function isWideWord({ type, wordElements }: GemvForm): boolean {
  return wordElements === ELEMENTS_PER_16_BYTES[type];
}

function isWide({ maxRows, teamRows, fixedPoint }: GemvForm): boolean {
  return !fixedPoint && maxRows * teamRows <= MOST_WIDE_SUMS;
}

function eachSum(form: GemvForm, line: (row: number, teamRow: number) => string): string {
  return unroll(form.maxRows, (row) => unroll(form.teamRows, (r) => line(row, r)));
}

/** x where it lies: turns of loads and products. */
function directProduct(form: GemvForm): string {
  return turns(form, "rowLane", "WORDS_PER_ROW", { whole: isWhole(form.wordsPerRow, form), slices: 0 });
}

/** How x is read. */
interface Turns {
  /** Whether the words are whole turns. */
  readonly whole: boolean;
  /** Of x in workgroup memory; none where it is read where it lies. */
  readonly slices: number;
}

/** x through workgroup memory: the first words of the weight are asked for before x is brought there. */
function stagedProduct(form: GemvForm, stage: RowStage): string {
  const { wordsPerRow, wordsPerSlice } = form;
  const perTurn = wordsOfTurn(form), slices = Math.ceil(wordsPerRow / wordsPerSlice);
  const how = { whole: wordsPerRow % wordsPerSlice === 0 && isWhole(wordsPerSlice, form), slices };
  const end = slices === 1 ? "WORDS_PER_ROW" : "endWord";
  const first = slices === 1 ? "rowLane" : "firstWord + rowLane";
  const lines = `${stage.loads}
${loads(form, first, 0, end, how)}
${slices > 1 ? "    workgroupBarrier();" : ""}
${stage.bring}
${products(form, 0, slices)}
${wordsPerSlice > perTurn ? turns(form, `${first} + ${perTurn}u`, end, how) : ""}`;
  if (slices === 1) return `    let firstWord = 0u;\n${lines}`;
  return `    for (var firstWord = 0u; firstWord < WORDS_PER_ROW; firstWord += ${wordsPerSlice}u) {
    let endWord = min(firstWord + ${wordsPerSlice}u, WORDS_PER_ROW);
${lines}
    }`;
}

function isWhole(words: number, form: GemvForm): boolean {
  return words % wordsOfTurn(form) === 0;
}

function turns(form: GemvForm, first: string, end: string, how: Turns): string {
  return `    for (var step = ${first}; step < ${end}; step += ${wordsOfTurn(form)}u) {
${loads(form, "step", 1, end, how)}
${products(form, 1, how.slices)}
    }`;
}

function wordsOfTurn({ lanes, parts, wordsPerTurn }: GemvForm): number {
  return lanes * parts * wordsPerTurn;
}

/** Words `at`, `at` + ROW_LANES, ... of every weight row of the team. Past the end, zeros; past the last row, its copy. */
function loads(form: GemvForm, at: string, set: number, end: string, { whole }: Turns): string {
  const { teamRows, wordsPerTurn, wordsPerRow, wordElements } = form;
  return unroll(wordsPerTurn, (i) => {
    const k = `${at} + ${i}u * ROW_LANES`;
    const words = unroll(teamRows, (r) => {
      const row = `min(firstColumn + ${r}u, SHARD_ROWS - 1u)`;
      const word = `weight[${row} * WORDS_PER_ROW + k${set}_${i}]`;
      const load = `    let w${set}_${i}_${r} = ${whole ? word : `select(Word(), ${word}, ${k} < ${end})`};`;
      if (form.type !== "i4") return load;
      const wordsOfGroup = GROUP / wordElements;
      return `${load}
    let m${set}_${i}_${r} = multiplierOf(${row}, k${set}_${i} / ${wordsOfGroup}u, ${
        wordsPerRow / wordsOfGroup
      }u);`;
    });
    return `    let k${set}_${i} = ${whole ? k : `min(${k}, ${end} - 1u)`};\n${words}`;
  });
}

/** The products of the words that the loads of the same set brought. */
function products(form: GemvForm, set: number, slices: number): string {
  return unroll(form.wordsPerTurn, (i) => multiplyWord(form, `${set}_${i}`, slices));
}

function multiplyWord(form: GemvForm, word: string, slices: number): string {
  const at = `k${word}${slices > 1 ? " - firstWord" : ""}`;
  if (form.fixedPoint) return multiplyFixedPoint(form, word, at);
  const { maxRows, teamRows, wordsPerRow, wordsPerSlice } = form;
  const quads = form.wordElements / 4, inGroup = sumsGroups(form);
  const sumOf = (row: number, r: number) => inGroup ? `g${word}_${row}_${r}` : `y${row}_${r}`;
  const lines = unroll(quads, (q) => {
    const name = (r: number) => `q${word}_${q}_${r}`;
    const weights = unroll(teamRows, (r) => `    let ${name(r)} = ${quadOf(form, word, q, r)};`);
    const sums = unroll(maxRows, (row) => {
      const start = row === 0 ? "" : `min(${row}u, numRows - 1u) * ${wordsPerRow * quads}u + `;
      const load = slices > 0
        ? `staged[${q * wordsPerSlice}u + ${at}]`
        : `x[${start}k${word} * ${quads}u + ${q}u]`;
      const x = `x${word}_${q}_${row}`;
      return `    let ${x} = ${load};
${unroll(teamRows, (r) => addProduct(form, sumOf(row, r), name(r), x))}`;
    });
    return `${weights}\n${sums}`;
  });
  if (!inGroup) return lines;
  return `${eachSum(form, (row, r) => `    var ${sumOf(row, r)} = vec4<f32>();`)}
${lines}
${
    eachSum(form, (row, r) =>
      `    y${row}_${r} = fma(${sumOf(row, r)}, vec4<f32>(m${word}_${r}), y${row}_${r});`)
  }`;
}

/** The multiplier of an int4 group is applied to the group's sum, or, where many rows of x share them, to the weights. */
function sumsGroups(form: GemvForm): boolean {
  return form.type === "i4" && isWide(form);
}

function quadOf(form: GemvForm, word: string, q: number, r: number): string {
  const { type } = form, name = `w${word}_${r}`;
  if (type !== "i4") return isWideWord(form) ? quadOfWord(type, name, q) : `unpackQuad(${name})`;
  const quad = isWideWord(form) ? quadOfWord(type, name, q) : quadOfInt4(name, q);
  return sumsGroups(form) ? quad : `m${word}_${r} * ${quad}`;
}

function addProduct(form: GemvForm, y: string, q: string, x: string): string {
  if (isWide(form)) return `    ${y} = fma(${q}, ${x}, ${y});`;
  return `    ${y} = fma(${q}.w, ${x}.w, fma(${q}.z, ${x}.z, fma(${q}.y, ${x}.y, fma(${q}.x, ${x}.x, ${y}))));`;
}
