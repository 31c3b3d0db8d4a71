// A checkpoint in which rows of several tensors, one after the other, are one tensor: products that read the same input are
// one product then. Nothing is copied or converted; scales and multipliers of quantised parts are stacked alike.
import { multiplierName, scaleName, type TensorInfo, type TensorSource } from "../kernels/tensor_source.ts";

export class StackedSource implements TensorSource {
  readonly #source: TensorSource;
  /** By the name of the whole, in order. */
  readonly #parts: ReadonlyMap<string, readonly string[]>;

  /** @param parts names of the parts of each whole that the source itself has not */
  constructor(source: TensorSource, parts: ReadonlyMap<string, readonly string[]>) {
    this.#source = source;
    const beside = (of: (name: string) => string) =>
      [...parts].map(([whole, names]) => [of(whole), names.map(of)] as const);
    this.#parts = new Map([...parts, ...beside(scaleName), ...beside(multiplierName)]);
  }

  /** @throws {TypeError} when parts are stored in several types */
  find(name: string): TensorInfo | undefined {
    const names = this.#parts.get(name);
    if (!names) return this.#source.find(name);
    const infos = names.map((part) => this.#source.find(part));
    if (!infos.every((info) => info !== undefined)) return undefined;
    const [{ dtype, shape: [, ...rest] }] = infos;
    const other = infos.find((info) => info.dtype !== dtype);
    if (other) {
      throw new TypeError(
        `Cannot load model: tensors "${
          infos[0].name
        }" and "${other.name}" must be of one type, received ${dtype} and ${other.dtype}`,
      );
    }
    return { name, dtype, shape: [infos.reduce((rows, { shape }) => rows + shape[0], 0), ...rest] };
  }

  async readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    if (!this.#parts.has(name)) return await this.#source.readRows(name, start, end);
    const pieces = await Promise.all(
      this.#pieces(name, start, end).map((piece) =>
        this.#source.readRows(piece.name, piece.start, piece.end)
      ),
    );
    const rows = new Uint8Array(pieces.reduce((bytes, { length }) => bytes + length, 0));
    let at = 0;
    for (const piece of pieces) {
      rows.set(piece, at);
      at += piece.length;
    }
    return rows;
  }

  async readRowsInto(
    name: string,
    start: number,
    end: number,
    target: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    if (!this.#parts.has(name)) return await this.#source.readRowsInto(name, start, end, target);
    const rowBytes = target.length / (end - start);
    let at = 0;
    await Promise.all(
      this.#pieces(name, start, end).map((piece) => {
        const bytes = (piece.end - piece.start) * rowBytes, into = target.subarray(at, at + bytes);
        at += bytes;
        return this.#source.readRowsInto(piece.name, piece.start, piece.end, into);
      }),
    );
  }

  /** The parts' own rows that rows [start, end) of the whole are. */
  #pieces(whole: string, start: number, end: number) {
    let first = 0;
    return this.#parts.get(whole)!.flatMap((name) => {
      const rows = this.#source.find(name)!.shape[0], from = Math.max(0, start - first);
      const to = Math.min(rows, end - first);
      first += rows;
      return from < to ? [{ name, start: from, end: to }] : [];
    });
  }
}
