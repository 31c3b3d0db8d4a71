// One request's events on their way to whoever reads them: written by the engine's loop, which never waits for the
// reader. What can pile up is bounded by the request's own token limit.

export class EventQueue<Event> implements AsyncIterableIterator<Event> {
  readonly #events: Event[] = [];
  readonly #readers: PromiseWithResolvers<IteratorResult<Event>>[] = [];
  readonly #onCancel: () => void;
  #end: { readonly error?: unknown } | undefined;

  /** @param onCancel called once when the reader stops before the end */
  constructor(onCancel: () => void) {
    this.#onCancel = onCancel;
  }

  push(event: Event) {
    if (this.#end) return;
    const reader = this.#readers.shift();
    if (reader) reader.resolve({ done: false, value: event });
    else this.#events.push(event);
  }

  /** No event follows; those that are buffered are still read. */
  close() {
    this.#end ??= {};
    for (const reader of this.#readers.splice(0)) reader.resolve({ done: true, value: undefined });
  }

  /** As `close`, but the reader gets `error` after the buffered events. */
  fail(error: unknown) {
    if (this.#end) return;
    const reader = this.#readers.shift();
    this.#end = reader ? {} : { error };
    reader?.reject(error);
    this.close();
  }

  /** As `fail`, and drops what is buffered. */
  abort(error: unknown) {
    if (this.#end) return;
    this.#events.length = 0;
    this.fail(error);
  }

  next(): Promise<IteratorResult<Event>> {
    const event = this.#events.shift();
    if (event !== undefined) return Promise.resolve({ done: false, value: event });
    if (!this.#end) {
      const reader = Promise.withResolvers<IteratorResult<Event>>();
      this.#readers.push(reader);
      return reader.promise;
    }
    const end = this.#end;
    this.#end = {};
    return "error" in end ? Promise.reject(end.error) : Promise.resolve({ done: true, value: undefined });
  }

  /** The reader stops: cancels the request unless it has ended. */
  return(): Promise<IteratorResult<Event>> {
    const ended = this.#end !== undefined;
    this.#events.length = 0;
    this.#end = {};
    this.close();
    if (!ended) this.#onCancel();
    return Promise.resolve({ done: true, value: undefined });
  }

  async throw(error?: unknown): Promise<IteratorResult<Event>> {
    await this.return();
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
