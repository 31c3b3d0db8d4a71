// Structured logs: one JSON object a line, on stderr. Says what happened to requests and never what was in them.
import type { Exchange, ExchangeWatcher } from "./exchange.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error", "off"] as const;
export type LogLevel = typeof LOG_LEVELS[number];

export interface LogOptions {
  /** Lines below this level are not written. */
  readonly level: LogLevel;
  /** Takes a line without its end; by default stderr. */
  readonly write?: (line: string) => void;
  /** Wall clock. */
  readonly date?: () => Date;
}

type Fields = Readonly<Record<string, unknown>>;

export class Log {
  readonly #threshold: number;
  readonly #write: (line: string) => void;
  readonly #date: () => Date;

  constructor({ level, write = console.error, date = () => new Date() }: LogOptions) {
    this.#threshold = LOG_LEVELS.indexOf(level);
    this.#write = write;
    this.#date = date;
  }

  writes(level: LogLevel): boolean {
    return LOG_LEVELS.indexOf(level) >= this.#threshold;
  }

  /** `event` names what happened, in a few words that never vary; fields that are undefined are left out. */
  add(level: Exclude<LogLevel, "off">, event: string, fields: Fields = {}): void {
    if (!this.writes(level)) return;
    this.#write(JSON.stringify({ time: this.#date().toISOString(), level, event, ...fields }));
  }
}

/** A line for every request, once it is over: at `info` for those that ask for work, at `debug` for the others. */
export function logExchanges(log: Log): ExchangeWatcher {
  return { ended: (exchange) => log.add(levelOf(exchange), "request", describe(exchange)) };
}

/** Only what is a fault of ours is a warning. Probes and scrapes come every few seconds. */
function levelOf({ status, isWork, generations }: Exchange): "debug" | "info" | "warn" {
  if (status === 500 || generations.some(({ outcome }) => outcome === "failed")) return "warn";
  return isWork ? "info" : "debug";
}

function describe(exchange: Exchange): Fields {
  const { id, method, path, status, keyName, ageMs, generations } = exchange;
  return {
    request_id: id,
    method,
    path,
    status,
    key: keyName,
    duration_ms: round(ageMs),
    ...(generations.length > 0 && describeGenerations(exchange)),
  };
}

/** Tokens added up over the request's prompts; times of the prompt that took longest. */
function describeGenerations({ generations }: Exchange): Fields {
  const slowest = generations.reduce((a, b) => a.totalMs > b.totalMs ? a : b);
  const { timings, firstTokenMs } = slowest;
  return {
    outcome: slowest.outcome,
    finish: generations.flatMap(({ reasons }) => reasons),
    prompt_tokens: generations.reduce((sum, { promptTokens }) => sum + promptTokens, 0),
    generated_tokens: generations.reduce((sum, { completionTokens }) => sum + completionTokens, 0),
    first_token_ms: firstTokenMs === undefined ? undefined : round(firstTokenMs),
    ...(timings && {
      queue_ms: round(timings.queueMs),
      prompt_ms: round(timings.promptMs),
      predicted_ms: round(timings.predictedMs),
    }),
  };
}

/** Microseconds are noise. */
function round(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
