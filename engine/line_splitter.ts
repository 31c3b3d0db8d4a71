// Text that comes in pieces, cut into lines.

/** Each line begins with the break that parts it from the one before, so that whoever drops a line drops its break. */
export class LineSplitter {
  #rest = "";
  #atStart = true;

  /** @returns the lines that are now known to be whole */
  push(piece: string): string[] {
    this.#rest += piece;
    if (!piece.includes("\n")) return [];
    const lines = this.#rest.split(/(?=\r\n)|(?<!\r)(?=\n)/);
    if (this.#atStart && /^\r?\n/.test(lines[0])) lines.unshift("");
    this.#atStart = false;
    this.#rest = lines.pop()!;
    return lines;
  }

  /** The last line, whole or not. */
  flush(): string {
    const line = this.#rest;
    this.#rest = "";
    return line;
  }
}
