// Writes the one-row form of linear for int4 and int8 (whole_gemv.wgsl): its loads and products spelled out for its division
// of work.
import { specialise, unroll } from "../wgsl.ts";
import type { Epilogue } from "./epilogue.ts";
import { fixedPointCode } from "./fixed_point.ts";
import type { GemvForm } from "./gemv_form.ts";
import type { RowStage, WholeWords, WordStage } from "./row_stage.ts";
import { subgroupSum } from "./team_sum.ts";
import type { WeightAccess } from "./weight_access.ts";
import code from "./whole_gemv.wgsl" with { type: "text" };
import type { WholeEnd } from "./whole_numbers.ts";

/** The kernel for one shard; `end` where the output is left as whole numbers. */
export function wholeGemvCode(
  form: GemvForm,
  constants: Readonly<Record<string, number>>,
  access: WeightAccess,
  epilogue: Epilogue,
  stage: WordStage,
  end?: WholeEnd,
): string {
  const specialised = specialise(code, {
    ...constants,
    THREADS: form.threads,
    LANES: form.lanes,
    PARTS: form.parts,
    TEAM_ROWS: form.teamRows,
    BLOCKS: form.blocks,
    WORDS_PER_ROW: form.wordsPerRow,
  }, {
    access: access.code,
    fixedPoint: fixedPointCode(form.wholeType!),
    stage: "wordAt" in stage ? "alias X = vec4<u32>;" : `alias X = vec4<f32>;\n${stage.code}`,
    epilogue: `${epilogue.code}\n${end?.code ?? ""}`,
    product: product(form, stage),
    joinParts: unroll(form.parts - 1, (i) => `        sum += sums[firstSum + ${i + 1}u * TEAM_ROWS];`),
    finish: end?.finish ?? "finish(outputAt, terms, sum);",
    leave: end?.leave ?? "",
  });
  return `enable subgroups;\n${specialised}`;
}

function product(form: GemvForm, stage: WordStage): string {
  const { wordsPerTurn, teamRows, blocks } = form;
  const words = (line: (i: number) => string) => unroll(wordsPerTurn, line);
  const firstLoads = words((i) =>
    `${unroll(teamRows, (r) => `    var w${i}_${r} = ${wordAt(i, `firstColumn + ${r}u`)};`)}
${
      hasMultipliers(form)
        ? unroll(teamRows, (r) => `    var m${i}_${r} = ${multipliersAt(i, `firstColumn + ${r}u`)};`)
        : ""
    }`
  );
  const last = `    {
        let block = ${blocks - 1}u;
${unroll(teamRows, (r) => sumOfRow(form, r))}
${store(form)}
    }`;
  const brought = `${words((i) => `    let k${i} = min(rowLane + ${i}u * ROW_LANES, WORDS_PER_ROW - 1u);`)}
${"wordAt" in stage ? takeWords(form, stage, firstLoads) : bringWords(form, stage, firstLoads)}`;
  if (blocks === 1) return `${brought}\n${last}`;
  return `${brought}
    for (var block = 0u; block + 1u < BLOCKS; block++) {
        let nextColumn = firstColumn + (block + 1u) * BLOCK_COLUMNS;
${
    unroll(teamRows, (r) =>
      `${sumOfRow(form, r)}
${
        words((i) =>
          `        w${i}_${r} = ${wordAt(i, `nextColumn + ${r}u`)};${
            hasMultipliers(form) ? `\n        m${i}_${r} = ${multipliersAt(i, `nextColumn + ${r}u`)};` : ""
          }`
        )
      }`)
  }
${store(form)}
    }
${last}`;
}

/** The first block's words of the weight are on their way behind those of x. */
function takeWords(form: GemvForm, stage: WholeWords, firstLoads: string): string {
  return `${
    unroll(form.wordsPerTurn, (i) => `    var own${i} = ${stage.wordAt(`k${i}`)};\n${dropBeyond(form, i)}`)
  }
${firstLoads}`;
}

/** The same through workgroup memory, of one word of every thread after the other. */
function bringWords(form: GemvForm, stage: RowStage, firstLoads: string): string {
  const read = (i: number) => `    own${i} = broughtWord(k${i} - firstWord);\n${dropBeyond(form, i)}`;
  return `${unroll(form.wordsPerTurn, (i) => `    var own${i} = WholeWord();`)}
    let firstWord = 0u;
${stage.loads}
${firstLoads}
${stage.bring}
${read(0)}
${
    unroll(form.wordsPerTurn - 1, (i) =>
      `    {
    let firstWord = ${i + 1}u * ROW_LANES;
${stage.loads}
    workgroupBarrier();
${stage.bring}
${read(i + 1)}
    }`)
  }`;
}

function wordAt(i: number, column: string): string {
  return `weight[min(${column}, SHARD_ROWS - 1u) * WORDS_PER_ROW + k${i}]`;
}

/** Four groups' multipliers, of which `multiplierIn` takes one: what is on its way must not be waited for. */
function multipliersAt(i: number, column: string): string {
  return `multipliers[min(${column}, SHARD_ROWS - 1u) * ((WORDS_PER_ROW + 3u) / 4u) + k${i} / 4u]`;
}

/** A thread beyond the end of a row has its last word, of which nothing may be counted. */
function dropBeyond({ wordsPerRow, parts, lanes }: GemvForm, i: number): string {
  if ((i + 1) * parts * lanes <= wordsPerRow) return "";
  return `    own${i}.scale = select(0.0, own${i}.scale, rowLane + ${i}u * ROW_LANES < WORDS_PER_ROW);`;
}

function hasMultipliers({ wholeType }: GemvForm): boolean {
  return wholeType === "i4";
}

function sumOfRow(form: GemvForm, r: number): string {
  const scale = (i: number) =>
    hasMultipliers(form) ? `(own${i}.scale * multiplierIn(m${i}_${r}, k${i}))` : `own${i}.scale`;
  const terms = Array.from(
    { length: form.wordsPerTurn },
    (_, i) => `productOf(w${i}_${r}, own${i}) * ${scale(i)}`,
  );
  return `        let v${r} = ${terms.join(" +\n            ")};`;
}

function store({ lanes, teamRows }: GemvForm): string {
  return subgroupSum(teamRows, lanes, (value) => `sums[(block * TEAMS + team) * TEAM_ROWS + ${value}]`);
}
