// How long to wait for the next key before the server is asked. Pure: times are handed in. The rule is that of Tabby's
// agent: the mean gap between keys, longer where a completion is unlikely to be wanted, less what the answer takes.
import type { Cursor } from "./cursor.ts";

const KEPT = 10;
/** Longer pauses say nothing about how one types. */
const LONGEST_GAP_MS = 1_000;
const LEAST_MEAN_GAP_MS = 100;
const MOST_MEAN_GAP_MS = 400;
const USUAL_GAP_MS = 200;
const LEAST_DELAY_MS = 100;
const MOST_DELAY_MS = 1_000;

export class TypingRhythm {
  readonly #gapsMs: number[] = [];
  readonly #answersMs: number[] = [];
  #lastKeyMs: number | undefined;

  keyTyped(nowMs: number): void {
    const gap = this.#lastKeyMs === undefined ? Infinity : nowMs - this.#lastKeyMs;
    this.#lastKeyMs = nowMs;
    if (gap <= LONGEST_GAP_MS) keep(this.#gapsMs, gap);
  }

  answered(ms: number): void {
    keep(this.#answersMs, ms);
  }

  /** Milliseconds, 100 to 1000. */
  delayMs(cursor: Cursor): number {
    const gap = clamp(mean(this.#gapsMs) ?? USUAL_GAP_MS, LEAST_MEAN_GAP_MS, MOST_MEAN_GAP_MS);
    const wanted = gap * (3 - 1.5 * wantedness(cursor)) - (mean(this.#answersMs) ?? 0);
    return clamp(wanted, LEAST_DELAY_MS, MOST_DELAY_MS);
  }

  /** Milliseconds since the last key; Infinity before the first. */
  idleMs(nowMs: number): number {
    return this.#lastKeyMs === undefined ? Infinity : nowMs - this.#lastKeyMs;
  }
}

/** Characters after which something must follow. */
const OPENERS = /[.([{:,=<>+\-*/|&\s]$/;

/** 0 to 1: how likely a completion is wanted here. */
function wantedness({ before, after, lineEnd }: Cursor): number {
  return (OPENERS.test(before) ? 0.5 : 0) + (lineEnd.trim() === "" ? 0.4 : 0) +
    (after.trim() === "" ? 0.1 : 0);
}

function keep(values: number[], value: number): void {
  values.push(value);
  if (values.length > KEPT) values.shift();
}

function mean(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
