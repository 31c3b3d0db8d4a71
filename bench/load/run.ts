// `deno task load`: one mode against each server in turn, never two at once; then the table, the report, the plots.
import { ProgressBar } from "../../cli/progress_bar.ts";
import { runCommand } from "../command.ts";
import { describeMachine } from "../machine.ts";
import { defaultFolders, readCorpus, type SourceFile } from "./code_corpus.ts";
import { htmlReport } from "./html_report.ts";
import { type Replay, replayKeystrokes } from "./keystrokes.ts";
import { keystrokeFindings } from "./keystrokes_report.ts";
import { type Findings, formatText, type LoadReport } from "./load_report.ts";
import { type OpenLoopRun, runOpenLoop } from "./open_loop.ts";
import { pooledReplays } from "./pooled_replays.ts";
import { openLoopFindings } from "./open_loop_report.ts";
import { type LoadOptions, type Mode, parseOptions, USAGE } from "./options.ts";
import { SeededRandom } from "./seeded_random.ts";
import { runSoak, type SoakRun } from "./soak.ts";
import { soakFindings } from "./soak_report.ts";
import { svgChart } from "./svg_chart.ts";
import { requireAnswer, targetSpecs } from "./target.ts";

async function load(options: LoadOptions): Promise<void> {
  targetSpecs(options.target); // Says what is wrong with any of them before a load is put on the first.
  for (const url of options.target.urls) await requireAnswer(url);
  const findings = await MODE_RUNS[options.mode](options, await corpusOf(options));
  const report: LoadReport = {
    ...findings,
    mode: options.mode,
    command: `deno task load ${Deno.args.map(quoted).join(" ")}`,
    machine: await describeMachine(),
  };
  console.log(formatText(report));
  await write(options, report);
  if (report.faults.length > 0) Deno.exitCode = 1;
}

const MODE_RUNS: Record<Mode, (options: LoadOptions, corpus: SourceFile[]) => Promise<Findings>> = {
  "open-loop": openLoop,
  "keystrokes": keystrokes,
  "soak": soak,
};

/** Any number arrive at once; a server with a fixed number of places gets that of the bursts. */
const OPEN_LOOP_CLIENTS = 8;

async function openLoop(options: LoadOptions, corpus: SourceFile[]): Promise<Findings> {
  const runs: OpenLoopRun[] = [];
  for (const spec of targetSpecs(options.target)) {
    await using target = await spec.open(OPEN_LOOP_CLIENTS);
    let bar: ProgressBar | undefined, shown = "";
    runs.push(
      await runOpenLoop(target, corpus, options, (phase, share) => {
        if (phase !== shown) bar?.update(1);
        if (phase !== shown) bar = new ProgressBar(phase);
        shown = phase;
        bar!.update(share);
      }),
    );
    bar?.update(1);
  }
  return openLoopFindings(runs, options);
}

async function soak(options: LoadOptions, corpus: SourceFile[]): Promise<Findings> {
  const runs: SoakRun[] = [];
  for (const spec of targetSpecs(oneLayout(options.target))) {
    await using target = await spec.open(options.concurrency);
    const bar = new ProgressBar(spec.label);
    runs.push(await runSoak(target, corpus, options, (share) => bar.update(share)));
    bar.update(1);
  }
  return soakFindings(runs);
}

/** Our layout of an infill depends on what is cached, and the answer on the layout: to compare answers it must be one. */
function oneLayout(target: LoadOptions["target"]): LoadOptions["target"] {
  const serve = target.serve.length > 0 || target.urls.length > 0 ? target.serve : [""];
  return {
    ...target,
    serve: serve.map((flags) => flags.includes("--fim-layout") ? flags : `${flags} --fim-layout psm`.trim()),
  };
}

/** The servers take turns, so that whatever else changes on the machine meets them all. */
async function keystrokes(options: LoadOptions, corpus: SourceFile[]): Promise<Findings> {
  const replays: Replay[] = [];
  const floods = options.flood > 0 ? [0, options.flood] : [0];
  for (const editors of options.editors) {
    for (const flood of floods) {
      for (let round = 0; round < options.rounds; round++) {
        for (const spec of targetSpecs(options.target)) {
          await using target = await spec.open(editors);
          const bar = new ProgressBar(`${spec.label}, ${editors} editors`);
          const some = { ...options, flood, seed: options.seed + round };
          replays.push(await replayKeystrokes(target, corpus, editors, some, (share) => bar.update(share)));
          bar.update(1);
        }
      }
    }
  }
  return keystrokeFindings(pooledReplays(replays));
}

async function corpusOf({ source, seed }: LoadOptions): Promise<SourceFile[]> {
  return await readCorpus(source.length > 0 ? source : await defaultFolders(), new SeededRandom(seed));
}

/** JSON lines are added to their file, each with all it takes to read it alone; the others are written anew. */
async function write({ json, report: page, plots }: LoadOptions, report: LoadReport): Promise<void> {
  if (json) {
    const { machine, command, mode } = report;
    const lines = report.records.map((record) =>
      JSON.stringify({ ...machine, command, mode, ...record }) + "\n"
    );
    await Deno.writeTextFile(json, lines.join(""), { append: true });
  }
  if (page) await Deno.writeTextFile(page, htmlReport(report));
  if (plots === undefined) return;
  await Deno.mkdir(plots, { recursive: true });
  for (const chart of report.charts) {
    await Deno.writeTextFile(`${plots}/${report.mode}-${chart.name}.svg`, svgChart(chart) + "\n");
  }
}

/** As a shell would have to be told it. */
function quoted(argument: string): string {
  return /^[\w./:,=-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;
}

if (import.meta.main) {
  await runCommand(async () => {
    const options = parseOptions(Deno.args);
    if (options) await load(options);
    else console.log(USAGE);
  });
}
