// A clock that stands still until a test moves it.

export class Clock {
  /** Milliseconds. */
  nowMs: number;

  constructor(nowMs = 0) {
    this.nowMs = nowMs;
  }

  readonly now = (): number => this.nowMs;

  advance(ms: number): void {
    this.nowMs += ms;
  }
}
