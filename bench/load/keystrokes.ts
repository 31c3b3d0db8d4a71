// Keystroke replay: editors that type in real files at human speed. Every key press asks for a completion and makes the
// one before it out of date, as editors' plugins do; what that costs the server is read from the server's own counters.
import { complete, type Outcome } from "./client.ts";
import {
  type CounterSample,
  CounterSampler,
  pause,
  readCounters,
  readIdleCounters,
} from "./counter_sampler.ts";
import type { SourceFile } from "./code_corpus.ts";
import { applyAction, editTrace } from "./edit_trace.ts";
import { EditorBuffer, type Window } from "./editor_buffer.ts";
import { Flood } from "./flood.ts";
import { randomJob } from "./random_job.ts";
import { SeededRandom } from "./seeded_random.ts";
import type { ServerCounters } from "./server_counters.ts";
import type { Target } from "./target.ts";

export interface KeystrokeOptions extends Window {
  /** Of each editor, at most. */
  readonly keys: number;
  /** A replay ends after this, whatever is left. */
  readonly seconds: number;
  /** At first, while every editor's file is new to the server, nothing is counted. */
  readonly settleSeconds: number;
  /** Times human speed. */
  readonly speed: number;
  readonly maxTokens: number;
  readonly seed: number;
  /** A key is pressed only when the one before is answered: what keys cost, however slow the server is. */
  readonly patient: boolean;
  /** Requests that are out of date run on, as llama.vim leaves them. */
  readonly keepSuperseded: boolean;
  /** Name of the header that tells a server which editor asks, where it reads one. */
  readonly sessionHeader?: string;
  /** Batch completions at once beside the editors. */
  readonly flood: number;
}

export interface Replay {
  readonly label: string;
  readonly editors: number;
  readonly startedAt: number;
  readonly outcomes: readonly Outcome[];
  readonly accepted: number;
  /** Batch completions at once beside the editors, and how many were done. */
  readonly flood: number;
  readonly floodCompleted: number;
  readonly before: ServerCounters | undefined;
  readonly after: ServerCounters | undefined;
  readonly samples: readonly CounterSample[];
}

const SAMPLE_MS = 250;
/** The last request of a replay is given this long; then all is over. */
const LAST_ANSWER_MS = 5000;
const FLOOD_TOKENS = 256;

/** @param onProgress told the share of the replay that is over */
export async function replayKeystrokes(
  target: Target,
  corpus: readonly SourceFile[],
  editors: number,
  options: KeystrokeOptions,
  onProgress: (share: number) => void,
): Promise<Replay> {
  const random = new SeededRandom(options.seed, 1000);
  const floodJob = () => randomJob(corpus, random, options, FLOOD_TOKENS);
  const outcomes: Outcome[] = [];
  const run = {
    target,
    options,
    outcomes,
    deadline: performance.now() + options.seconds * 1000,
    accepted: 0,
  };
  let before = await readCounters(target.endpoint);
  const startedAt = performance.now();
  let countedFrom = startedAt;
  await using sampler = new CounterSampler(target.endpoint, SAMPLE_MS);
  let floodCompleted = 0;
  {
    await using flood = new Flood(target.endpoint, { width: options.flood, nextJob: floodJob });
    const all = Array.from({ length: editors }, (_, editor) => replayEditor(run, corpus, editor));
    const settled = options.settleSeconds > 0 && setTimeout(async () => {
      before = await readCounters(target.endpoint);
      countedFrom = performance.now();
      run.accepted = 0;
    }, options.settleSeconds * 1000);
    const reporting = setInterval(() => {
      const byTime = (performance.now() - startedAt) / (options.seconds * 1000);
      onProgress(Math.max(byTime, outcomes.length / (editors * options.keys)));
    }, 200);
    await Promise.all(all);
    clearInterval(reporting);
    if (settled) clearTimeout(settled);
    floodCompleted = flood.outcomes.filter(({ kind }) => kind === "complete").length;
  }
  const after = await readIdleCounters(target.endpoint);
  return {
    label: target.label,
    editors,
    startedAt,
    outcomes: outcomes.filter(({ sentAt }) => sentAt >= countedFrom),
    accepted: run.accepted,
    flood: options.flood,
    floodCompleted,
    before,
    after,
    samples: sampler.samples,
  };
}

interface Run {
  readonly target: Target;
  readonly options: KeystrokeOptions;
  readonly outcomes: Outcome[];
  readonly deadline: number;
  accepted: number;
}

/** Key presses come at their times, however long the answers take, unless the editor is patient. */
async function replayEditor(run: Run, corpus: readonly SourceFile[], editor: number): Promise<void> {
  const { options } = run;
  const random = new SeededRandom(options.seed, editor);
  const { lines } = random.pick(corpus);
  const buffer = new EditorBuffer(lines.join("\n"));
  const requests = new EditorRequests(run, editor);
  let at = performance.now(), numKeys = 0;
  for (const { gapMs, action } of editTrace(lines, random)) {
    at += gapMs / options.speed;
    if (numKeys++ >= options.keys || at > run.deadline) break;
    await pause(at - performance.now());
    if (options.patient) {
      await requests.answered();
      at = performance.now();
    }
    if (action.kind === "accept" && requests.shown !== "") run.accepted++;
    applyAction(buffer, action, requests.shown);
    requests.ask(buffer);
  }
  await requests.finish();
}

/** The requests of one editor: the newest counts, the others are out of date. */
class EditorRequests {
  readonly #run: Run;
  readonly #headers: Record<string, string>;
  readonly #all: Promise<void>[] = [];
  readonly #controllers: AbortController[] = [];
  /** The newest request's whole answer, once it is there. */
  shown = "";

  constructor(run: Run, editor: number) {
    this.#run = run;
    const { sessionHeader } = run.options;
    this.#headers = sessionHeader === undefined ? {} : { [sessionHeader]: `editor-${editor}` };
  }

  ask(buffer: EditorBuffer): void {
    const { options } = this.#run;
    if (!options.keepSuperseded) this.#controllers.at(-1)?.abort();
    this.#controllers.push(new AbortController());
    this.shown = "";
    this.#all.push(this.#complete(buffer.job(options, options.maxTokens), this.#controllers.at(-1)!));
  }

  /** Waits for all answers, however long they take. */
  async answered(): Promise<void> {
    await Promise.all(this.#all);
  }

  /** Waits for the last answer, but not forever. */
  async finish(): Promise<void> {
    const late = setTimeout(() => this.#controllers.forEach((one) => one.abort()), LAST_ANSWER_MS);
    await this.answered();
    clearTimeout(late);
  }

  async #complete(job: ReturnType<EditorBuffer["job"]>, controller: AbortController): Promise<void> {
    const { target, outcomes } = this.#run;
    const { signal } = controller;
    const outcome = await complete(target.endpoint, job, { signal, headers: this.#headers });
    outcomes.push(outcome);
    if (outcome.kind === "complete" && this.#controllers.at(-1) === controller) this.shown = outcome.text;
  }
}
