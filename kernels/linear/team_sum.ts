// How the threads of a team add up what each of them has summed: through the subgroup, or through workgroup memory.
import { unroll } from "../wgsl.ts";
import type { GemvForm } from "./gemv_form.ts";

/** WGSL that leaves shares of the sums of `v0`, `v1`, ... over the team in `sums[(team * SUM_SHARES + share) * VALUES + i]`. */
export interface TeamSum {
  readonly memory: string;
  readonly code: string;
}

export function teamSum(form: GemvForm): TeamSum {
  if (!form.subgroups) return workgroupSum(form);
  const values = form.maxRows * form.teamRows;
  return { memory: "", code: subgroupSum(values, form.lanes, (value) => `sums[team * VALUES + ${value}]`) };
}

/** Parameters of `main`. */
export function teamThreads({ subgroups }: GemvForm): string {
  return subgroups
    ? "@builtin(subgroup_id) team: u32, @builtin(subgroup_invocation_id) lane: u32,"
    : "@builtin(local_invocation_index) thread: u32,";
}

/** Its first lines: `thread`, `team` and `lane`, of which the threads of a team follow each other. */
export function teamPlace({ subgroups }: GemvForm): string {
  return subgroups
    ? "    let thread = team * LANES + lane;"
    : "    let team = thread / LANES;\n    let lane = thread % LANES;";
}

/**
 * Sums of `count` values `v0`, `v1`, ... over a subgroup, stored at `place` of the value's number. By halving: with every
 * exchange a lane hands over half of its sums and takes its partner's share of the other half, so that n values cost about
 * n exchanges and not n times log2(LANES). Value i ends in the lanes from i * LANES / count on.
 */
export function subgroupSum(count: number, lanes: number, place: (value: string) => string): string {
  const lines: string[] = [];
  let names = Array.from({ length: count }, (_, i) => `v${i}`);
  for (let distance = lanes / 2, level = 0; distance >= 1; distance /= 2, level++) {
    if (names.length === 1) {
      lines.push(`let s${level} = ${names[0]} + subgroupShuffleXor(${names[0]}, ${distance}u);`);
      names = [`s${level}`];
      continue;
    }
    const half = names.length / 2;
    lines.push(`let high${level} = (lane & ${distance}u) != 0u;`);
    names = Array.from({ length: half }, (_, i) => {
      const low = names[i], high = names[i + half], name = `s${level}_${i}`;
      lines.push(
        `let ${name} = select(${low}, ${high}, high${level}) + subgroupShuffleXor(select(${high}, ${low}, high${level}), ${distance}u);`,
      );
      return name;
    });
  }
  const span = lanes / count;
  lines.push(`if (lane % ${span}u == 0u) { ${place(`lane / ${span}u`)} = ${names[0]}; }`);
  return lines.map((line) => `    ${line}`).join("\n");
}

/**
 * Four values of all threads at a time pass through workgroup memory; SUM_SHARES threads then add up for each of them, and
 * their shares are joined at the end like those of several teams. Few barriers: each costs some compilers dearly.
 */
function workgroupSum({ threads, lanes, maxRows, teamRows }: GemvForm): TeamSum {
  const values = maxRows * teamRows;
  const four = (i: number) => {
    const parts = [0, 1, 2, 3].map((j) => 4 * i + j < values ? `v${4 * i + j}` : "0.0");
    return `${i > 0 ? "    workgroupBarrier();\n" : ""}    partials[thread] = vec4<f32>(${parts.join(", ")});
    workgroupBarrier();
    addUp(thread, ${4 * i}u);`;
  };
  const shares = sumShares({ lanes });
  return {
    memory: `var<workgroup> partials: array<vec4<f32>, ${threads}>;
/** One value of four, of one team, over every ${shares}th of its threads. */
fn addUp(thread: u32, firstValue: u32) {
    let value = firstValue + thread % 4u;
    let share = thread / 4u % ${shares}u;
    let team = thread / ${4 * shares}u;
    if (value >= VALUES) { return; }
    let first = team * LANES + share;
    let sum = ${
      Array.from({ length: lanes / shares }, (_, j) => `partials[first + ${j * shares}u][thread % 4u]`).join(
        " + ",
      )
    };
    sums[(team * SUM_SHARES + share) * VALUES + value] = sum;
}`,
    code: unroll(Math.ceil(values / 4), four),
  };
}

/** Shares in which a team's sums come. */
export function sumShares({ lanes, subgroups }: Pick<GemvForm, "lanes"> & Partial<GemvForm>): number {
  return subgroups ? 1 : lanes / 4;
}
