// Requests on their way to a thread that takes them in between its steps, in order: few are sent ahead of what it has
// taken, so that whoever comes waits for few, and who leaves before his turn costs nothing. Knows no thread.

/** Requests that were sent and are not taken. */
const MOST_UNTAKEN = 4;

interface Waiting<Request> {
  readonly id: number;
  readonly request: Request;
}

export class SubmissionLine<Request> {
  readonly #send: (id: number, request: Request) => void;
  /** By group, the next one first. */
  readonly #waiting = new Map<string, Waiting<Request>[]>();
  #untaken = 0;

  /** @param send is called with each request in its turn */
  constructor(send: (id: number, request: Request) => void) {
    this.#send = send;
  }

  /** @param group requests of one take turns with those of others: the prompts of one HTTP request, say */
  add(id: number, request: Request, group: string): void {
    const waiting = this.#waiting.get(group);
    if (waiting) waiting.push({ id, request });
    else this.#waiting.set(group, [{ id, request }]);
    this.#advance();
  }

  /** @returns whether it was still waiting, and now never will be sent */
  remove(id: number): boolean {
    for (const [group, waiting] of this.#waiting) {
      const at = waiting.findIndex((one) => one.id === id);
      if (at < 0) continue;
      waiting.splice(at, 1);
      if (waiting.length === 0) this.#waiting.delete(group);
      return true;
    }
    return false;
  }

  /** None that waits will be sent. */
  clear(): void {
    this.#waiting.clear();
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
      const [group, waiting] = next, { id, request } = waiting.shift()!;
      this.#waiting.delete(group);
      if (waiting.length > 0) this.#waiting.set(group, waiting); // Behind all others.
      this.#untaken++;
      this.#send(id, request);
    }
  }
}
