// Stop strings over a stream of text: what may be delivered, and where generation ends. Knows no tokens.

export interface StopResult {
  /** Text that is certain to stand before any stop string. */
  readonly text: string;
  /** The stop string met; nothing follows `text`. */
  readonly stop?: string;
}

/**
 * How much of one stop string the text ends with, after Knuth, Morris and Pratt ("Fast Pattern Matching in Strings",
 * 1977): a few operations a character, however long and repetitive the string is.
 */
export class Progress {
  readonly stop: string;
  /** Length of the longest beginning of `stop` that the text ends with. */
  length = 0;
  /** `#borders[n]`: the longest proper beginning of stop's first n that is also their end; known as far as needed. */
  readonly #borders: number[] = [0, 0];

  constructor(stop: string) {
    this.stop = stop;
  }

  /** Takes the next code unit of the text. @returns whether the stop string is complete */
  push(unit: string): boolean {
    this.length = this.#extend(this.length, unit);
    return this.length === this.stop.length;
  }

  /** All beginnings of the stop string that the text ends with, by length, the longest first. */
  lengths(): number[] {
    const lengths: number[] = [];
    for (let length = this.length; length > 0; length = this.#border(length)) lengths.push(length);
    return lengths;
  }

  #extend(length: number, unit: string): number {
    while (length > 0 && this.stop[length] !== unit) length = this.#border(length);
    return this.stop[length] === unit ? length + 1 : 0;
  }

  #border(length: number): number {
    for (let n = this.#borders.length; n <= length; n++) {
      this.#borders.push(this.#extend(this.#borders[n - 1], this.stop[n - 1]));
    }
    return this.#borders[length];
  }
}

/**
 * Finds stop strings however the text is cut into pieces, and holds back a tail that may yet become one. The string
 * that is complete first ends the text; of several that are complete at the same character, the longest.
 */
export class StopMatcher {
  readonly #stops: readonly Progress[];
  #held = "";

  constructor(stops: readonly string[]) {
    // The longest first: among those complete at the same character it is the one that is met.
    this.#stops = stops.filter((stop) => stop !== "").sort((a, b) => b.length - a.length).map((stop) =>
      new Progress(stop)
    );
  }

  push(piece: string): StopResult {
    const text = this.#held + piece;
    for (let i = 0; i < piece.length; i++) {
      const met = this.#advance(piece[i]);
      if (met === undefined) continue;
      const end = this.#held.length + i + 1;
      this.#held = "";
      return { text: text.slice(0, end - met.length), stop: met };
    }
    const held = this.#stops.reduce((longest, { length }) => Math.max(longest, length), 0);
    this.#held = text.slice(text.length - held);
    return { text: text.slice(0, text.length - held) };
  }

  /** The held-back text, which the end of the stream shows to be no stop string. */
  flush(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }

  /** The stop string that `unit` completes. */
  #advance(unit: string): string | undefined {
    let met: string | undefined;
    for (const progress of this.#stops) if (progress.push(unit)) met ??= progress.stop;
    return met;
  }
}
