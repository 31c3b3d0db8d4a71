// The load test's command line.
import { parseArgs } from "node:util";
import { ARRIVAL_PROCESSES, type ArrivalProcess } from "./arrivals.ts";
import { DIALECTS, SUFFIX_FORMS } from "./dialect.ts";
import type { KeystrokeOptions } from "./keystrokes.ts";
import type { TargetOptions } from "./target.ts";

export const USAGE = `Put a load on a completion server and measure it.

  deno task load open-loop    arrivals at rising rates until the server is saturated, then at 1, 2 and 4 times that
  deno task load keystrokes   editors that type real edits, a request with every key press
  deno task load soak         many requests, broken ones and clients that leave among them; every answer is checked

Which server
  --serve "FLAGS"   start this repository's with these flags of \`serve\` (may be repeated; default: none)
  --command "CMD"   start another, with {port} and {clients} filled in; ready when GET /health is (may be repeated)
  --url URL         one that runs already (may be repeated), on this machine
  --names A,B,...   what reports call the servers: those of --serve, then of --command, then of --url
  --allow-remote    on another machine, too
  --api-key KEY     sent as "Authorization: Bearer KEY"
  --dialect D       infill (llama.cpp's, default) or openai (/v1/completions)
  --suffix FORM     with openai: field (default), or tokens, for servers that have no "suffix" (vLLM, TGI)
  --model ID        with openai: the model's name, where the server wants one
  --extra JSON      fields for every body, such as '{"fim_layout":"psm"}'

What load
  --seed N          same seed, same load (default: 1)
  --source DIR      code to complete (may be repeated; default: this repository and its npm packages)
  --before N --after N   lines around the cursor's (default: 256 and 64, as llama.vim)
  --max-tokens N    new tokens (default: 64; soak 24)
  --seconds N       of each rate (default: 10) or replay (default: 60), at most

open-loop
  --process P       poisson (default) or bursty
  --rate N          first rate, requests a second (default: 1); --max-rate N (default: 512)
  --refine N        halvings between the last sustained rate and the first that was not (default: 2)
  --ttft-bound MS   a request counts as good when its first token came by then (default: 500)
  --total-bound MS  and its last by then (default: no bound)
  --rounds N        at the end, of 1, 2 and 4 times the saturation rate by turns (default: 1)
  --flood N         then half the saturation rate with and without N batch completions beside it

keystrokes
  --editors LIST    editors at once, a replay for each number (default: 1)
  --keys N          key presses of each editor (default: 200)
  --rounds N        replays of each number, each with other edits, the servers taking turns (default: 1)
  --speed F         times human speed (default: 1)
  --settle SECONDS  at first, in which nothing is counted (default: 0)
  --patient         press a key only when the one before is answered: what keys cost, however slow the server
  --keep-superseded leave requests running that a new key press makes out of date, as llama.vim does
  --session-header NAME  header that tells the server which editor asks
  --flood N         each replay again with N batch completions beside it

soak
  --requests N      (default: 2000)   --concurrency N   at once (default: 16)
  --prompts N       different prompts (default: 24)

Results
  --json FILE       append the figures, one JSON line each
  --report FILE     an HTML page with tables and plots
  --plots DIR       every plot as an SVG file`;

export const MODES = ["open-loop", "keystrokes", "soak"] as const;
export type Mode = typeof MODES[number];

export interface LoadOptions extends Omit<KeystrokeOptions, "seconds"> {
  readonly mode: Mode;
  readonly target: TargetOptions;
  readonly source: readonly string[];
  readonly seconds: number;
  readonly process: ArrivalProcess;
  readonly rate: number;
  readonly maxRate: number;
  readonly refine: number;
  readonly ttftBound: number;
  readonly totalBound: number;
  readonly editors: readonly number[];
  readonly rounds: number;
  readonly requests: number;
  readonly concurrency: number;
  readonly prompts: number;
  readonly json?: string;
  readonly report?: string;
  readonly plots?: string;
}

/**
 * The options, or undefined when help was asked for.
 * @throws {TypeError | RangeError} naming the option at fault
 */
export function parseOptions(args: string[]): LoadOptions | undefined {
  const text = { type: "string" } as const, flag = { type: "boolean" } as const;
  const list = { ...text, multiple: true } as const;
  const { values, positionals } = parseArgs({
    args: withServeFlags(args),
    allowPositionals: true,
    options: {
      ...{ serve: list, command: list, url: list, names: text, "allow-remote": flag, "api-key": text },
      ...{ dialect: text, suffix: text },
      ...{ model: text, extra: text, seed: text, source: list, before: text, after: text },
      ...{ "max-tokens": text, seconds: text, process: text, rate: text, "max-rate": text, refine: text },
      ...{
        "ttft-bound": text,
        "total-bound": text,
        flood: text,
        editors: text,
        rounds: text,
        keys: text,
        speed: text,
        settle: text,
      },
      ...{
        patient: flag,
        "keep-superseded": flag,
        "session-header": text,
        requests: text,
        concurrency: text,
      },
      ...{ prompts: text, json: text, report: text, plots: text },
      help: { ...flag, short: "h" },
    },
  });
  if (values.help || positionals.length === 0) return undefined;
  const mode = oneOf("the mode", positionals[0], MODES);
  if (positionals.length > 1) throw new TypeError(`Cannot put on a load: unexpected "${positionals[1]}"`);
  function number(name: keyof typeof values, fallback: number, { whole = true, least = 1 } = {}): number {
    return values[name] === undefined ? fallback : bounded(`--${name}`, `${values[name]}`, { whole, least });
  }
  const session = values["session-header"];
  return {
    mode,
    target: {
      serve: values.serve ?? [],
      commands: values.command ?? [],
      urls: values.url ?? [],
      names: values.names?.split(",") ?? [],
      allowRemote: values["allow-remote"] ?? false,
      ...(values["api-key"] !== undefined && { apiKey: values["api-key"] }),
      dialect: {
        dialect: oneOf("--dialect", values.dialect ?? "infill", DIALECTS),
        suffixForm: oneOf("--suffix", values.suffix ?? "field", SUFFIX_FORMS),
        ...(values.model !== undefined && { model: values.model }),
        extra: jsonObject("--extra", values.extra ?? "{}"),
      },
    },
    source: values.source ?? [],
    seed: number("seed", 1, { least: 0 }),
    linesBefore: number("before", 256, { least: 0 }),
    linesAfter: number("after", 64, { least: 0 }),
    maxTokens: number("max-tokens", mode === "soak" ? 24 : 64),
    seconds: number("seconds", mode === "open-loop" ? 10 : 60, { whole: false, least: 0.1 }),
    process: oneOf("--process", values.process ?? "poisson", ARRIVAL_PROCESSES),
    rate: number("rate", 1, { whole: false, least: 0.01 }),
    maxRate: number("max-rate", 512, { whole: false, least: 0.01 }),
    refine: number("refine", 2, { least: 0 }),
    ttftBound: number("ttft-bound", 500, { whole: false }),
    totalBound: number("total-bound", Infinity, { whole: false }),
    flood: number("flood", 0, { least: 0 }),
    editors: (values.editors ?? "1").split(",").map((n) =>
      bounded("--editors", n, { whole: true, least: 1 })
    ),
    rounds: number("rounds", 1),
    keys: number("keys", 200),
    speed: number("speed", 1, { whole: false, least: 0.01 }),
    settleSeconds: number("settle", 0, { whole: false, least: 0 }),
    patient: values.patient ?? false,
    keepSuperseded: values["keep-superseded"] ?? false,
    ...(session !== undefined && { sessionHeader: session }),
    requests: number("requests", 2000),
    concurrency: number("concurrency", 16),
    prompts: number("prompts", 24),
    ...(values.json !== undefined && { json: values.json }),
    ...(values.report !== undefined && { report: values.report }),
    ...(values.plots !== undefined && { plots: values.plots }),
  };
}

/** parseArgs takes no value that begins with a hyphen unless "=" is before it; the flags of a server do. */
function withServeFlags(args: readonly string[]): string[] {
  const joined: string[] = [];
  for (let i = 0; i < args.length; i++) {
    joined.push(args[i] === "--serve" && i + 1 < args.length ? `--serve=${args[++i]}` : args[i]);
  }
  return joined;
}

/** No load is larger: what is asked for by mistake ends all the same. */
const MOST = 1e6;

function bounded(name: string, value: string, { whole, least }: { whole: boolean; least: number }): number {
  const number = value.trim() === "" ? NaN : Number(value);
  if (number >= least && number <= MOST && (!whole || Number.isInteger(number))) return number;
  throw new RangeError(
    `Cannot put on a load: ${name} must be a ${whole ? "whole " : ""}number from ${least} to ${MOST}, ` +
      `received "${value}"`,
  );
}

function jsonObject(name: string, value: string): Record<string, unknown> {
  try {
    const object = JSON.parse(value);
    if (typeof object === "object" && object !== null && !Array.isArray(object)) return object;
  } catch {
    // Told below.
  }
  throw new TypeError(`Cannot put on a load: ${name} must be a JSON object, received "${value}"`);
}

function oneOf<T extends string>(name: string, value: string, choices: readonly T[]): T {
  const choice = choices.find((c) => c === value);
  if (choice) return choice;
  throw new RangeError(
    `Cannot put on a load: ${name} must be one of ${choices.join(", ")}, received "${value}"`,
  );
}
