// Writes the WGSL of the few-rows form of linear: how many weight rows and words a thread works on at once, and the loop
// body spelled out for it.
import type { GpuCaps } from "../../device/caps.ts";
import type { StorageType } from "../gpu_op.ts";
import { ELEMENTS_PER_16_BYTES, quadOfWord, specialise, unroll } from "../wgsl.ts";
import code from "./gemv.wgsl" with { type: "text" };

const THREADS = 128;
/** Loads of 16 bytes that a thread issues before it needs the first. */
const LOADS_IN_FLIGHT = 4;

/** The most rows of x that this form is written for. */
export type GemvRows = 1 | 2 | 4;

export interface GemvForm {
  /** Rows of x that the code is written for. */
  readonly maxRows: GemvRows;
  /** Threads that share an output. */
  readonly lanes: number;
  /** Whether a team is exactly a subgroup. */
  readonly subgroups: boolean;
  /** Weight rows that a team works on at once. */
  readonly teamRows: number;
  /** Words of each of those rows that a thread takes per turn of the loop. */
  readonly wordsPerTurn: number;
  readonly wordsPerRow: number;
}

/** Chooses the form for a weight of `stride` stored elements a row. */
export function gemvForm(maxRows: GemvRows, type: StorageType, stride: number, caps: GpuCaps): GemvForm {
  // A team adds up inside a subgroup only where the subgroup's size is known before the code is compiled.
  const { subgroupMinSize: size, subgroupMaxSize } = caps;
  const subgroups = caps.subgroups && size === subgroupMaxSize && size >= 8 && size <= THREADS;
  const lanes = subgroups ? size : 32;
  const teamRows = maxRows === 4 ? 2 : 4;
  const wordsPerRow = stride / ELEMENTS_PER_16_BYTES[type];
  const wordsPerTurn = Math.min(LOADS_IN_FLIGHT / teamRows, Math.ceil(wordsPerRow / lanes));
  return { maxRows, lanes, subgroups, teamRows, wordsPerTurn, wordsPerRow };
}

/** Workgroups for a shard of `shardRows` weight rows. */
export function gemvWorkgroups(form: GemvForm, shardRows: number): number {
  return Math.ceil(shardRows / (form.teamRows * (THREADS / form.lanes)));
}

/** The kernel for one shard. */
export function gemvCode(
  form: GemvForm,
  type: StorageType,
  constants: Readonly<Record<string, number>>,
  epilogue: string,
): string {
  const { maxRows, lanes, subgroups, teamRows, wordsPerTurn, wordsPerRow } = form;
  const specialised = specialise(code, {
    ...constants,
    LANES: lanes,
    TEAM_ROWS: teamRows,
    MAX_ROWS: maxRows,
    WORDS_PER_TURN: wordsPerTurn,
    WORDS_PER_ROW: wordsPerRow,
  }, {
    epilogue,
    accumulators: eachSum(form, (row, r) => `    var y${row}_${r} = vec4<f32>();`),
    multiply: [
      unroll(wordsPerTurn, (i) => loadWords(form, i)),
      unroll(wordsPerTurn, (i) => multiplyWord(form, type, i)),
    ].join("\n"),
    ...(subgroups ? subgroupTeam(form) : workgroupTeam(form)),
  });
  return subgroups ? `enable subgroups;\n${specialised}` : specialised;
}

function eachSum(form: GemvForm, line: (row: number, teamRow: number) => string): string {
  return unroll(form.maxRows, (row) => unroll(form.teamRows, (r) => line(row, r)));
}

/** Word `i` of the turn, of every weight row of the team. Past the end of a row, zeros; past the last row, its copy. */
function loadWords({ lanes, teamRows, wordsPerTurn, wordsPerRow }: GemvForm, i: number): string {
  const whole = wordsPerRow % (lanes * wordsPerTurn) === 0;
  const at = `    let k${i} = ${
    whole ? `step + ${i * lanes}u` : `min(step + ${i * lanes}u, ${wordsPerRow - 1}u)`
  };`;
  const loads = unroll(teamRows, (r) => {
    const word = `weight[min(firstColumn + ${r}u, SHARD_ROWS - 1u) * WORDS_PER_ROW + k${i}]`;
    const guarded = `select(vec4<u32>(), ${word}, step + ${i * lanes}u < WORDS_PER_ROW)`;
    return `    let w${i}_${r} = ${whole ? word : guarded};`;
  });
  return `${at}\n${loads}`;
}

function multiplyWord({ maxRows, teamRows, wordsPerRow }: GemvForm, type: StorageType, i: number): string {
  const quads = ELEMENTS_PER_16_BYTES[type] / 4;
  return unroll(quads, (q) => {
    const weights = unroll(
      teamRows,
      (r) => `    let q${i}_${q}_${r} = ${quadOfWord(type, `w${i}_${r}`, q)};`,
    );
    const sums = unroll(maxRows, (row) => {
      const last = row === 0 ? "0u" : `min(${row}u, numRows - 1u)`;
      const load = `    let x${i}_${q}_${row} = x[${last} * ${
        wordsPerRow * quads
      }u + k${i} * ${quads}u + ${q}u];`;
      const fma = unroll(
        teamRows,
        (r) => `    y${row}_${r} = fma(q${i}_${q}_${r}, x${i}_${q}_${row}, y${row}_${r});`,
      );
      return `${load}\n${fma}`;
    });
    return `${weights}\n${sums}`;
  });
}

/** The team's sums, row by row, packed four to a vector: `total0` and, beyond four sums, `total1`. */
function packTotals({ maxRows, teamRows }: GemvForm): { count: number; code: string } {
  const sums = Array.from(
    { length: maxRows * teamRows },
    (_, j) => `dot(y${Math.floor(j / teamRows)}_${j % teamRows}, vec4<f32>(1.0))`,
  );
  const count = sums.length / 4;
  const total = (i: number) => `    let total${i} = vec4<f32>(${sums.slice(4 * i, 4 * i + 4).join(", ")});`;
  return { count, code: unroll(count, total) };
}

function subgroupTeam(form: GemvForm): Record<string, string> {
  const totals = packTotals(form);
  const added = (i: number) => `subgroupAdd(total${i})`;
  const mine = totals.count === 1
    ? "all0[lane % 4u]"
    : "select(all0[lane % 4u], all1[lane % 4u], lane >= 4u)";
  return {
    memory: "",
    builtins: "@builtin(subgroup_id) team: u32, @builtin(subgroup_invocation_id) lane: u32,",
    place: "",
    reduce: `${totals.code}
${unroll(totals.count, (i) => `    let all${i} = ${added(i)};`)}
    let sum = ${mine};`,
  };
}

function workgroupTeam(form: GemvForm): Record<string, string> {
  const totals = packTotals(form);
  const partials = (i: number, offset: string) => `partials[thread + ${i * THREADS}u${offset}]`;
  const halvings = Array.from({ length: Math.log2(form.lanes) }, (_, i) => form.lanes >> (i + 1));
  const fold = (half: number) =>
    `    if (lane < ${half}u) {
${unroll(totals.count, (i) => `        ${partials(i, "")} += ${partials(i, ` + ${half}u`)};`)}
    }
    workgroupBarrier();`;
  return {
    memory: `var<workgroup> partials: array<vec4<f32>, ${totals.count * THREADS}>;`,
    builtins: "@builtin(local_invocation_index) thread: u32,",
    place: "    let team = thread / LANES;\n    let lane = thread % LANES;",
    reduce: `${totals.code}
${unroll(totals.count, (i) => `    ${partials(i, "")} = total${i};`)}
    workgroupBarrier();
${halvings.map(fold).join("\n")}
    let sum = partials[team * LANES + min(lane / 4u, ${totals.count - 1}u) * ${THREADS}u][lane % 4u];`,
  };
}
