// The tensors of a GGUF file under the names that safetensors of the same model have, so that each architecture is
// written once.
import { CopyingSource, type TensorInfo } from "../../kernels/tensor_source.ts";
import { RangedFile } from "../ranged_file.ts";
import { blockType, dequantise, plainType } from "./gguf_blocks.ts";
import type { GgufHeader, GgufTensor } from "./gguf_header.ts";

/** The file's name of a tensor that a network asks for; undefined where it has none. */
export type NameOf = (name: string) => string | undefined;

export class GgufSource extends CopyingSource implements Disposable {
  readonly #file: RangedFile;
  readonly #header: GgufHeader;
  readonly #nameOf: NameOf;

  private constructor(file: RangedFile, header: GgufHeader, nameOf: NameOf) {
    super();
    this.#file = file;
    this.#header = header;
    this.#nameOf = nameOf;
  }

  /** @throws {RangeError} when the file ends before a tensor does */
  static async open(path: string, header: GgufHeader, nameOf: NameOf): Promise<GgufSource> {
    const file = await RangedFile.open(path);
    for (const tensor of header.tensors.values()) {
      if (tensor.start + bytesOf(tensor) <= file.size) continue;
      file[Symbol.dispose]();
      throw new RangeError(
        `Cannot load model: "${path}" ends within tensor "${tensor.name}"; it was not downloaded to its end`,
      );
    }
    return new GgufSource(file, header, nameOf);
  }

  /** Bytes of all tensors in the file. */
  get numBytes(): number {
    return this.#header.tensors.values().reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  }

  find(name: string): TensorInfo | undefined {
    const tensor = this.#header.tensors.get(this.#nameOf(name) ?? "");
    return tensor && { name, dtype: plainType(tensor.type) ?? "F16", shape: tensor.shape };
  }

  async readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const tensor = this.#header.tensors.get(this.#nameOf(name) ?? "");
    if (!tensor) throw new TypeError(`Cannot read tensor: the file has no "${name}"`);
    const bytes = await this.#file.read(
      tensor.start + start * tensor.rowBytes,
      (end - start) * tensor.rowBytes,
    );
    if (plainType(tensor.type)) return bytes;
    return new Uint8Array(dequantise(blockType(tensor.type, name, tensor.shape.at(-1)!), bytes).buffer);
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}

function bytesOf({ shape, rowBytes }: GgufTensor): number {
  return (shape[0] ?? 1) * (shape.length > 2 ? shape.slice(1, -1).reduce((a, b) => a * b) : 1) * rowBytes;
}
