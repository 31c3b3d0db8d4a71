// Writes the WGSL of the few-rows form of linear: loads and products of the loop body spelled out for its division of
// work, with x as it lies or brought into workgroup memory first.
import { GROUP } from "../int4.ts";
import { ELEMENTS_PER_16_BYTES, quadOfInt4, quadOfWord, quadSnippet, specialise, unroll } from "../wgsl.ts";
import type { Epilogue } from "./epilogue.ts";
import code from "./gemv.wgsl" with { type: "text" };
import type { GemvForm } from "./gemv_form.ts";
import type { RowStage } from "./row_stage.ts";
import { sumShares, teamPlace, teamSum, teamThreads } from "./team_sum.ts";
import type { WeightAccess } from "./weight_access.ts";

/** Up to this many sums a thread keeps four partial sums of each, which do not wait for one another. */
const MOST_WIDE_SUMS = 4;

/** The kernel for one shard; `stage` where x goes through workgroup memory. */
export function gemvCode(
  form: GemvForm,
  constants: Readonly<Record<string, number>>,
  access: WeightAccess,
  epilogue: Epilogue,
  stage?: RowStage,
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
    epilogue: epilogue.code,
    access: access.code,
    word: wordAlias(form),
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

function isWide({ maxRows, teamRows }: GemvForm): boolean {
  return maxRows * teamRows <= MOST_WIDE_SUMS;
}

function eachSum(form: GemvForm, line: (row: number, teamRow: number) => string): string {
  return unroll(form.maxRows, (row) => unroll(form.teamRows, (r) => line(row, r)));
}

/** x where it lies: turns of loads and products. */
function directProduct(form: GemvForm): string {
  return turns(form, "rowLane", false);
}

/** x through workgroup memory: the first words of the weight are asked for before x is brought there. */
function stagedProduct(form: GemvForm, stage: RowStage): string {
  const perTurn = wordsOfTurn(form);
  return `${stage.loads}
${loads(form, "rowLane", 0)}
${stage.bring}
${products(form, 0, true)}
${form.wordsPerRow > perTurn ? turns(form, `rowLane + ${perTurn}u`, true) : ""}`;
}

function turns(form: GemvForm, first: string, staged: boolean): string {
  return `    for (var step = ${first}; step < WORDS_PER_ROW; step += ${wordsOfTurn(form)}u) {
${loads(form, "step", 1)}
${products(form, 1, staged)}
    }`;
}

function wordsOfTurn({ lanes, parts, wordsPerTurn }: GemvForm): number {
  return lanes * parts * wordsPerTurn;
}

/** Words `at`, `at` + ROW_LANES, ... of every weight row of the team. Past the end, zeros; past the last row, its copy. */
function loads(form: GemvForm, at: string, set: number): string {
  const { teamRows, wordsPerTurn, wordsPerRow, wordElements } = form;
  const whole = wordsPerRow % wordsOfTurn(form) === 0;
  return unroll(wordsPerTurn, (i) => {
    const k = `${at} + ${i}u * ROW_LANES`;
    const words = unroll(teamRows, (r) => {
      const row = `min(firstColumn + ${r}u, SHARD_ROWS - 1u)`;
      const word = `weight[${row} * WORDS_PER_ROW + k${set}_${i}]`;
      const load = `    let w${set}_${i}_${r} = ${
        whole ? word : `select(Word(), ${word}, ${k} < WORDS_PER_ROW)`
      };`;
      if (form.type !== "i4") return load;
      const wordsOfGroup = GROUP / wordElements;
      return `${load}
    let m${set}_${i}_${r} = multiplierOf(${row}, k${set}_${i} / ${wordsOfGroup}u, ${
        wordsPerRow / wordsOfGroup
      }u);`;
    });
    return `    let k${set}_${i} = ${whole ? k : `min(${k}, WORDS_PER_ROW - 1u)`};\n${words}`;
  });
}

/** The products of the words that the loads of the same set brought. */
function products(form: GemvForm, set: number, staged: boolean): string {
  return unroll(form.wordsPerTurn, (i) => multiplyWord(form, `${set}_${i}`, staged));
}

function multiplyWord(form: GemvForm, word: string, staged: boolean): string {
  const { maxRows, teamRows, wordsPerRow } = form;
  const quads = form.wordElements / 4, inGroup = sumsGroups(form);
  const sumOf = (row: number, r: number) => inGroup ? `g${word}_${row}_${r}` : `y${row}_${r}`;
  const lines = unroll(quads, (q) => {
    const name = (r: number) => `q${word}_${q}_${r}`;
    const weights = unroll(teamRows, (r) => `    let ${name(r)} = ${quadOf(form, word, q, r)};`);
    const sums = unroll(maxRows, (row) => {
      const start = row === 0 ? "" : `min(${row}u, numRows - 1u) * ${wordsPerRow * quads}u + `;
      const load = staged
        ? `staged[${q * wordsPerRow}u + k${word}]`
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
