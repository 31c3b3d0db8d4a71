// A file of weights that is read by ranges, by several at once. Knows no format.

/** Reads of one file that run at once. Each opens it anew: a place to read from belongs to an open file. */
const READERS = 4;

/** A file read at any place by several callers at once; those who are too many wait for one another. */
export class RangedFile implements Disposable {
  readonly path: string;
  /** As it was when it was opened first. */
  readonly #info: Deno.FileInfo;
  readonly #opened: Deno.FsFile[];
  readonly #idle: Deno.FsFile[];
  readonly #waiting: ((file: Deno.FsFile) => void)[] = [];
  /** How many more times it may be opened. */
  #spare = READERS - 1;

  private constructor(path: string, file: Deno.FsFile) {
    this.path = path;
    this.#info = file.statSync();
    this.#opened = [file];
    this.#idle = [file];
  }

  static async open(path: string): Promise<RangedFile> {
    try {
      return new RangedFile(path, await Deno.open(path));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new Deno.errors.NotFound(
        `Cannot load model: "${path}" is missing; download it with the rest of the model`,
      );
    }
  }

  get size(): number {
    return this.#info.size;
  }

  async read(offset: number, numBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(numBytes);
    await this.readInto(offset, bytes);
    return bytes;
  }

  async readInto(offset: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const file = await this.#take();
    try {
      await file.seek(offset, Deno.SeekMode.Start);
      for (let done = 0; done < bytes.byteLength;) {
        const n = await file.read(bytes.subarray(done));
        if (n === null) throw new RangeError(`Cannot read "${this.path}": it became shorter while open`);
        done += n;
      }
    } finally {
      this.#giveBack(file);
    }
  }

  [Symbol.dispose](): void {
    this.#spare = 0;
    for (const file of this.#opened) file.close();
  }

  #take(): Deno.FsFile | Promise<Deno.FsFile> {
    return this.#idle.pop() ?? this.#openAnew() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Undefined where that is not to be: who reads then waits for one that is open. */
  #openAnew(): Deno.FsFile | undefined {
    if (this.#spare === 0) return undefined;
    const file = openSame(this.path, this.#info);
    if (file) this.#opened.push(file);
    this.#spare = file ? this.#spare - 1 : 0;
    return file;
  }

  #giveBack(file: Deno.FsFile): void {
    const next = this.#waiting.shift();
    if (next) next(file);
    else this.#idle.push(file);
  }
}

/**
 * Undefined where the path no longer leads to that file, or the process may open no more: a model that is replaced or
 * removed while it is read is read to its end as it was.
 */
function openSame(path: string, { dev, ino, mtime }: Deno.FileInfo): Deno.FsFile | undefined {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path);
  } catch {
    return undefined;
  }
  const found = file.statSync();
  if (found.dev === dev && found.ino === ino && found.mtime?.getTime() === mtime?.getTime()) return file;
  file.close();
  return undefined;
}
