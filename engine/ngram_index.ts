// Where each n-gram of a growing list of tokens was last: what followed it then is a guess at what follows it now. Pure;
// a token costs the same few table entries however long the list is.

/** Lengths of the n-grams that are looked up. Single tokens recur everywhere and foretell little. */
const NGRAM_LENGTHS = [2, 3, 4, 6, 8] as const;
const LONGEST = 8;
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
  #tokens: Int32Array;
  #length = 0;
  /** First token after the last barrier. */
  #textStart = 0;
  /** Hash tables by n-gram length, open addressing: the position after the n-gram's latest place, or 0. */
  readonly #tables: Int32Array[];
  readonly #hashes = new Int32Array(NGRAM_LENGTHS.length);

  /** @param numTokens room to begin with; it grows as needed */
  constructor(numTokens = INITIAL_TOKENS) {
    const capacity = 2 ** Math.ceil(Math.log2(Math.max(1, numTokens)));
    this.#tokens = new Int32Array(capacity);
    this.#tables = NGRAM_LENGTHS.map(() => new Int32Array(2 * capacity));
  }

  /** Tokens, barriers included. */
  get length(): number {
    return this.#length;
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
    for (let n = this.#hash(tail.#tokens, tail.#textStart, tail.#length) - 1; n >= 0; n--) {
      const next = this.#tables[n][this.#slotOf(n, tail.#tokens, tail.#length)];
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
    for (let n = this.#hash(this.#tokens, this.#textStart, end) - 1; n >= 0; n--) {
      this.#tables[n][this.#slotOf(n, this.#tokens, end)] = end;
    }
  }

  /** Hashes the n-grams before `end` that begin no earlier than `start`. @returns how many, the shortest first */
  #hash(tokens: Int32Array, start: number, end: number): number {
    const most = Math.min(LONGEST, end - start);
    let hash = 0, n = 0;
    for (let length = 1; length <= most; length++) {
      hash = Math.imul(hash ^ tokens[end - length], 0x9e3779b1);
      hash ^= hash >>> 15;
      if (length === NGRAM_LENGTHS[n]) this.#hashes[n++] = hash;
    }
    return n;
  }

  /** The slot of the hashed n-gram before `end` of `tokens`: the one that has it, or the free one where it would go. */
  #slotOf(n: number, tokens: Int32Array, end: number): number {
    const table = this.#tables[n], mask = table.length - 1, length = NGRAM_LENGTHS[n];
    let slot = this.#hashes[n] & mask;
    while (table[slot] > 0 && !isSame(this.#tokens, table[slot], tokens, end, length)) slot = slot + 1 & mask;
    return slot;
  }

  /** Twice the room: no table is ever more than half full, and so always has a free slot. */
  #grow() {
    const tokens = new Int32Array(2 * this.#tokens.length);
    tokens.set(this.#tokens);
    this.#tokens = tokens;
    for (const [n, table] of this.#tables.entries()) {
      this.#tables[n] = new Int32Array(2 * tokens.length);
      for (const end of table) {
        if (end === 0) continue;
        this.#hash(tokens, 0, end);
        this.#tables[n][this.#slotOf(n, tokens, end)] = end;
      }
    }
  }
}

function isSame(a: Int32Array, aEnd: number, b: Int32Array, bEnd: number, length: number): boolean {
  for (let i = 1; i <= length; i++) if (a[aEnd - i] !== b[bEnd - i]) return false;
  return true;
}
