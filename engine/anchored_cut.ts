// Where a part that is too long for its place in a prompt is cut: on a line's start or end, at one that its text alone
// singles out. A window over a file that slides by a line, or that grows or shrinks by a token, is then cut at the same
// place most of the time, and what was computed of it stays of use.
import type { Tokenizer } from "./tokenizer.ts";

/** Tokens of a part of a prompt. */
export interface Cut {
  readonly ids: readonly number[];
  /** Something was left out. */
  readonly truncated: boolean;
}

/** A cut may leave out this share of what there is room for: half of it, on average, is the price of a steady cut. */
const SLACK = 1 / 4;
/** Lines that single out a place; a single one ("}") is too often found again. */
const ANCHOR_LINES = 2;
const NEWLINE = 0x0a;

/** The end of `all`, at most `room` tokens, from a line's start on where there is one near. */
export function keepEnd(tokenizer: Tokenizer, all: Cut, room: number): Cut {
  const { ids } = all;
  if (ids.length <= room) return all;
  const first = ids.length - Math.max(0, room);
  const last = first + Math.floor(Math.max(0, room) * SLACK);
  const boundaries = lineBoundaries(tokenizer, ids, first, last);
  const at = largestBy(boundaries, (at) => hashLines(bytesFrom(tokenizer, ids, at))) ?? first;
  return { ids: ids.slice(at), truncated: true };
}

/** The start of `all`, at most `room` tokens, up to a line's end where there is one near. */
export function keepStart(tokenizer: Tokenizer, all: Cut, room: number): Cut {
  const { ids } = all;
  if (ids.length <= room) return all;
  const last = Math.max(0, room), first = last - Math.floor(last * SLACK);
  const boundaries = lineBoundaries(tokenizer, ids, Math.max(1, first), last).reverse();
  const at = largestBy(boundaries, (at) => hashLines(bytesBefore(tokenizer, ids, at))) ?? last;
  return { ids: ids.slice(0, at), truncated: true };
}

/** Indices from `first` to `last` right before which a line ends, or right after whose line break it does. */
export function lineBoundaries(
  tokenizer: Tokenizer,
  ids: readonly number[],
  first: number,
  last: number,
): number[] {
  const boundaries: number[] = [];
  for (let at = first; at <= last; at++) {
    const before = at > 0 && tokenizer.bytes(ids[at - 1]).at(-1) === NEWLINE;
    const after = at < ids.length && tokenizer.bytes(ids[at])[0] === NEWLINE;
    if (before || after) boundaries.push(at);
  }
  return boundaries;
}

/** The first item with the largest value; undefined when there are none. */
function largestBy(items: readonly number[], valueOf: (item: number) => number): number | undefined {
  const values = items.map(valueOf);
  return items[values.indexOf(values.reduce((a, b) => Math.max(a, b), -1))];
}

function* bytesFrom(tokenizer: Tokenizer, ids: readonly number[], at: number): Generator<number> {
  for (let i = at; i < ids.length; i++) yield* tokenizer.bytes(ids[i]);
}

/** Backwards. */
function* bytesBefore(tokenizer: Tokenizer, ids: readonly number[], at: number): Generator<number> {
  for (let i = at - 1; i >= 0; i--) yield* tokenizer.bytes(ids[i]).toReversed();
}

/**
 * A number from 0 to 2^32 - 1 for the first lines, blank ones before them apart: FNV-1a, mixed by MurmurHash3's
 * finaliser, so that every line is as likely as any other to have the largest.
 */
function hashLines(bytes: Iterable<number>): number {
  let hash = 0x811c9dc5, lines = 0, started = false;
  for (const byte of bytes) {
    if (byte === NEWLINE) {
      if (started && ++lines === ANCHOR_LINES) break;
      if (!started) continue;
    }
    started = true;
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
