// A set that gives its oldest member again and again. A plain set walks past the places of all that have left since it
// was last laid out anew, each time: thousands, where members join at one end and leave at the other.

export class OldestFirst<T> implements Iterable<T> {
  readonly #members = new Set<T>();
  /** Before its place there is nobody but `#oldest`. */
  #places = this.#members.values();
  #oldest: T | undefined;

  get size(): number {
    return this.#members.size;
  }

  /** The member that was added first; undefined when there is none. */
  get oldest(): T | undefined {
    if (this.#oldest === undefined && this.size > 0) {
      let next = this.#places.next();
      // An iterator that has come to the end stays there, whoever joins later.
      if (next.done) next = (this.#places = this.#members.values()).next();
      this.#oldest = next.value;
    }
    return this.#oldest;
  }

  has(member: T): boolean {
    return this.#members.has(member);
  }

  /** Where it is a member already, it keeps its age. */
  add(member: T) {
    this.#members.add(member);
  }

  delete(member: T): boolean {
    if (member === this.#oldest) this.#oldest = undefined;
    return this.#members.delete(member);
  }

  /** The oldest first. */
  [Symbol.iterator](): SetIterator<T> {
    return this.#members.values();
  }
}
