// Requests on their way to a thread that takes them in between its steps, in order: few are sent ahead of what it has
// taken, so that whoever comes waits for few, and who leaves before his turn costs nothing. Knows no thread.

/** Requests that were sent and are not taken. */
const MOST_UNTAKEN = 4;

export class SubmissionLine {
  readonly #send: (id: number) => void;
  /** By group, the next one first. */
  readonly #waiting = new Map<string, number[]>();
  #untaken = 0;

  /** @param send is called with each request in its turn */
  constructor(send: (id: number) => void) {
    this.#send = send;
  }

  /** @param group requests of one take turns with those of others: the prompts of one HTTP request, say */
  add(id: number, group: string): void {
    const ids = this.#waiting.get(group);
    if (ids) ids.push(id);
    else this.#waiting.set(group, [id]);
    this.#advance();
  }

  /** @returns whether it was still waiting, and now never will be sent */
  remove(id: number): boolean {
    for (const [group, ids] of this.#waiting) {
      const at = ids.indexOf(id);
      if (at < 0) continue;
      ids.splice(at, 1);
      if (ids.length === 0) this.#waiting.delete(group);
      return true;
    }
    return false;
  }

  /** One that was sent has been taken. */
  taken(): void {
    this.#untaken--;
    this.#advance();
  }

  #advance(): void {
    while (this.#untaken < MOST_UNTAKEN) {
      const [next] = this.#waiting;
      if (!next) return;
      const [group, [id, ...others]] = next;
      this.#waiting.delete(group);
      if (others.length > 0) this.#waiting.set(group, others); // Behind all others.
      this.#untaken++;
      this.#send(id);
    }
  }
}
