// How long to wait after a key before asking. An answer that comes before the next key costs nobody anything, so a fast
// server is asked with every key; a slow one when typing pauses, sooner where a suggestion is likely to be of use. The
// rule and its places are Tabby's adaptive debounce, with the pace of keys against the server's own. Pure: time is passed
// in.

const USUAL_GAP_MS = 200;
/** Gaps beyond these are no typing, or held keys. */
const MIN_GAP_MS = 60;
const MAX_GAP_MS = 400;
/** Keys that come as good as together (an editor's own, a paste) are one. */
const MIN_DELAY_MS = 15;
const MAX_DELAY_MS = 600;
/** Share of what is new in the running means. */
const WEIGHT = 0.3;
const TRIGGERS = /[.([{,:= ]$/;

export class TypingPace {
  #gapMs = USUAL_GAP_MS;
  #answerMs = 0;
  #lastKeyMs = -Infinity;

  /** A key was typed. */
  key(nowMs: number): void {
    const gapMs = nowMs - this.#lastKeyMs;
    this.#lastKeyMs = nowMs;
    if (gapMs > MAX_GAP_MS * 3) return; // A pause says nothing of the pace.
    const clamped = Math.min(MAX_GAP_MS, Math.max(MIN_GAP_MS, gapMs));
    this.#gapMs += WEIGHT * (clamped - this.#gapMs);
  }

  /** A suggestion began to show this long after it was asked for. */
  answered(ms: number): void {
    this.#answerMs += WEIGHT * (ms - this.#answerMs);
  }

  /** A request was cancelled by the next key, this long after it was made: nobody knows how long it would have taken. */
  unanswered(ms: number): void {
    if (2 * ms > this.#answerMs) this.answered(2 * ms);
  }

  /** @param before the text of the line up to the cursor @param after the rest of the line */
  delayMs(before: string, after: string): number {
    if (this.#answerMs <= this.#gapMs) return MIN_DELAY_MS;
    const likely = (TRIGGERS.test(before) ? 0.5 : 0) + (after.trim() === "" ? 0.5 : 0);
    const pauseMs = this.#gapMs * (2.5 - likely);
    return Math.min(MAX_DELAY_MS, Math.max(MIN_DELAY_MS, pauseMs));
  }
}
