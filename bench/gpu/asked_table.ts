// The second table of run_all.sh: what is asked of the GPU path beside peers' speed, from the JSON lines and logs that the
// parts leave in a folder. What was not measured has no row.
//
//     deno run -A bench/gpu/asked_table.ts OUT
import { join } from "node:path";
import { parseArgs } from "node:util";
import { readJson } from "./json_lines.ts";

type Line = Record<string, unknown>;

/** A figure beside what is asked for; `must` undefined: what it says has to be so. */
interface Asked {
  readonly what: string;
  readonly is: string;
  readonly must?: number;
  readonly reached: boolean;
}

/** What the memory can deliver, bytes a millisecond: an H200's. */
const BANDWIDTH = 4.3e9;
/** Where decoding is compared. */
const CONTEXT = 512;
const PRODUCT = "2048x8192x2048";

if (import.meta.main) {
  const { positionals: [folder] } = parseArgs({ args: Deno.args, allowPositionals: true });
  console.log(formatAsked(await readAsked(folder)));
}

/** The rows that a folder has figures for; of those measured several times the latest. */
export async function readAsked(folder: string): Promise<Asked[]> {
  const lines = (name: string) => readJson(join(folder, name));
  const int4 = await lines("int4.jsonl"), large = await lines("large.jsonl");
  const f16 = decodeOf(large, "large"), product = (await lines("gemm.jsonl")).findLast(isProduct);
  const server = (await lines("server.jsonl")).at(-1);
  return [
    f16 &&
    atLeast("15.5 B, f16, batch 1: share of the bandwidth", f16.weightBytes / f16.decodeMs / BANDWIDTH, 0.7),
    timesAsFast("1.1 B", decodeOf(int4, "random"), decodeOf(int4, "random-int4"), 1.5),
    timesAsFast("15.5 B", f16, decodeOf(large, "large-int4"), 2.5),
    product && atLeast(`product of ${PRODUCT}, TFLOP/s`, Number(product.teraflops), 80),
    server &&
    atLeast("whole server: share of the bare loop", rateOf(server.server) / rateOf(server.loop), 0.85),
    ...(await lines("greedy.jsonl")).flatMap(greedyRow),
    ...await Promise.all(["kernels", "models"].map((suite) => suiteRow(folder, suite))),
  ].filter((row) => row !== undefined);
}

export function formatAsked(rows: readonly Asked[]): string {
  return [
    "| what | is | must | |",
    "| --- | ---: | ---: | --- |",
    ...rows.map(({ what, is, must, reached }) =>
      `| ${what} | ${is} | ${must ?? ""} | ${reached ? "reached" : "short"} |`
    ),
  ].join("\n");
}

function atLeast(what: string, value: number, must: number): Asked {
  return { what, is: value.toPrecision(3), must, reached: value >= must };
}

interface Decode {
  readonly decodeMs: number;
  readonly weightBytes: number;
}

/** The step at batch 1 of a checkpoint, by its folder's name: lines of compare.ts. */
function decodeOf(lines: readonly Line[], checkpoint: string): Decode | undefined {
  return lines.findLast(({ label, batch, context, decodeMs }) =>
    String(label).startsWith(`${checkpoint} on dawn`) && batch === 1 && context === CONTEXT && decodeMs
  ) as Decode | undefined;
}

function timesAsFast(model: string, f16: Decode | undefined, int4: Decode | undefined, must: number) {
  return f16 && int4 && atLeast(`int4 against f16, ${model}, batch 1`, f16.decodeMs / int4.decodeMs, must);
}

function isProduct({ profile, shape, type, teraflops }: Line): boolean {
  return profile === "fast" && shape === PRODUCT && type === "f16" && teraflops !== undefined;
}

/** Tokens a second, of a line of server.ts. */
function rateOf(part: unknown): number {
  return Number((part as Line | undefined)?.tokensPerSecond);
}

function greedyRow({ label, tokens, equal }: Line): Asked[] {
  if (tokens === undefined) return [];
  return [{
    what: `${tokens} greedy tokens, ${label}`,
    is: equal ? "the reference's" : "others",
    reached: !!equal,
  }];
}

/** By the last line of the suite's log that counts tests. */
async function suiteRow(folder: string, suite: string): Promise<Asked | undefined> {
  const log = await Deno.readTextFile(join(folder, suite, "suites.log")).catch(() => "");
  const counts = [...log.matchAll(/\| (\d+) passed[^|]* \| (\d+) failed/g)].at(-1);
  if (!counts) return undefined;
  const [, passed, failed] = counts;
  return { what: `tests/${suite}`, is: `${passed} passed, ${failed} failed`, reached: failed === "0" };
}
