// Where each n-gram of a growing list of tokens was last: what followed it then is a guess at what follows it now. Pure;
// a token costs the same few table entries however long the list is.

/** Lengths of the n-grams that are looked up, the longest first. Single tokens recur everywhere and foretell little. */
const NGRAM_LENGTHS = [8, 6, 4, 3, 2] as const;
/** Longest match that is told from longer ones. */
export const MAX_MATCH = 32;
/** Stands between texts: no n-gram, match or draft reaches across. */
const BARRIER = -1;
const INITIAL_TOKENS = 256;

/** An earlier place like the end of some tokens. */
export interface NgramMatch {
  readonly index: NgramIndex;
  /** Where what followed begins. */
  readonly next: number;
  /** Tokens before it that are the same here and there, at most `MAX_MATCH`. */
  readonly length: number;
}

export class NgramIndex {
  #tokens = new Int32Array(INITIAL_TOKENS);
  #length = 0;
  /** First token after the last barrier. */
  #textStart = 0;
  /** Hash tables by n-gram length, open addressing: the position after the n-gram's latest place, or 0. */
  #tables = NGRAM_LENGTHS.map(() => new Int32Array(2 * INITIAL_TOKENS));

  /** Tokens, barriers included. */
  get length(): number {
    return this.#length;
  }

  tokenAt(position: number): number {
    return this.#tokens[position];
  }

  /** Appends a token. The n-grams before it can be found from now on, for now something follows them. */
  push(id: number) {
    this.#insertAt(this.#length);
    this.#append(id);
  }

  /** Begins a new text. */
  separate() {
    if (this.#textStart === this.#length) return;
    this.#append(BARRIER);
    this.#textStart = this.#length;
  }

  /**
   * The latest place of the longest n-gram (of 8, 6, 4, 3 or 2 tokens) that `tail` ends with and that something follows.
   * @param tail the tokens to be continued; may be the index itself
   */
  find(tail: NgramIndex): NgramMatch | undefined {
    for (let n = 0; n < NGRAM_LENGTHS.length; n++) {
      if (NGRAM_LENGTHS[n] > tail.#length) continue;
      const next = this.#tables[n][this.#slotOf(n, tail, tail.#length)];
      if (next > 0) return { index: this, next, length: this.#matchLength(next, tail, NGRAM_LENGTHS[n]) };
    }
    return undefined;
  }

  /** What follows a place: at most `count` tokens, up to the next barrier; past the end it repeats itself. */
  continuation(next: number, count: number): number[] {
    const ids: number[] = [];
    while (ids.length < count) {
      const position = next + ids.length;
      const id = position < this.#length ? this.#tokens[position] : ids[position - this.#length];
      if (id === BARRIER) break;
      ids.push(id);
    }
    return ids;
  }

  #append(id: number) {
    if (this.#length === this.#tokens.length) this.#grow();
    this.#tokens[this.#length++] = id;
  }

  #matchLength(next: number, tail: NgramIndex, known: number): number {
    let length = known;
    const most = Math.min(MAX_MATCH, next, tail.#length);
    while (length < most && this.#tokens[next - 1 - length] === tail.#tokens[tail.#length - 1 - length]) {
      if (this.#tokens[next - 1 - length] === BARRIER) break;
      length++;
    }
    return length;
  }

  /** Enters the n-grams that end before `end`. */
  #insertAt(end: number) {
    for (let n = 0; n < NGRAM_LENGTHS.length; n++) {
      if (end - NGRAM_LENGTHS[n] < this.#textStart) continue;
      this.#tables[n][this.#slotOf(n, this, end)] = end;
    }
  }

  /** The slot of the n-gram before `end` of `source`: the one that has it, or the free one where it would go. */
  #slotOf(n: number, source: NgramIndex, end: number): number {
    const table = this.#tables[n], length = NGRAM_LENGTHS[n];
    let hash = 0;
    for (let i = end - length; i < end; i++) {
      hash = Math.imul(hash ^ source.#tokens[i], 0x9e3779b1) ^ hash >>> 15;
    }
    let slot = (hash ^ hash >>> 16) & table.length - 1;
    while (table[slot] > 0 && !this.#isSame(table[slot], source, end, length)) {
      slot = slot + 1 & table.length - 1;
    }
    return slot;
  }

  #isSame(at: number, source: NgramIndex, end: number, length: number): boolean {
    for (let i = 1; i <= length; i++) if (this.#tokens[at - i] !== source.#tokens[end - i]) return false;
    return true;
  }

  /** Twice the room: no table is ever more than half full, and so always has a free slot. */
  #grow() {
    const tokens = new Int32Array(2 * this.#tokens.length);
    tokens.set(this.#tokens);
    this.#tokens = tokens;
    for (const [n, table] of this.#tables.entries()) {
      this.#tables[n] = new Int32Array(2 * tokens.length);
      for (const end of table) if (end > 0) this.#tables[n][this.#slotOf(n, this, end)] = end;
    }
  }
}
