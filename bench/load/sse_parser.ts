// Server-sent events as a client reads them, from chunks cut anywhere. Takes what servers send in practice: any line
// end, "data:" with or without a blank, comments, several data lines, a last event without a blank line.

export class SseParser {
  readonly #decoder = new TextDecoder();
  #rest = "";
  #data: string[] = [];

  /** The data of each event that ends within this chunk. */
  push(chunk: Uint8Array): string[] {
    return this.#take(this.#decoder.decode(chunk, { stream: true }));
  }

  /** What was left when the body ended. */
  end(): string[] {
    return this.#take(this.#decoder.decode() + "\n\n");
  }

  #take(text: string): string[] {
    // A carriage return at the end may be half a line end: it waits for what follows.
    const all = this.#rest + text, cut = all.endsWith("\r") ? all.length - 1 : all.length;
    const lines = all.slice(0, cut).split(/\r\n|\n|\r/);
    this.#rest = lines.pop()! + all.slice(cut);
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line: string): string[] {
    if (line.startsWith("data:")) this.#data.push(line.slice(line[5] === " " ? 6 : 5));
    if (line !== "" || this.#data.length === 0) return [];
    const event = this.#data.join("\n");
    this.#data = [];
    return [event];
  }
}

/** The events of a response's body as they come. */
export async function* sseEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const parser = new SseParser();
  for await (const chunk of body) yield* parser.push(chunk);
  yield* parser.end();
}
