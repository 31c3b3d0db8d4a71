// Writes a safetensors file piece by piece. The header comes first in the format, so all shapes are stated before any
// byte is written; the pieces of different tensors may then come in any order.
import { BYTES_PER_ELEMENT, type TensorInfo } from "../kernels/tensor_source.ts";
import { LENGTH_BYTES, storedBytes } from "./safetensors_header.ts";

/** Where the next piece of a tensor goes, and where the tensor ends. */
interface Region {
  next: number;
  readonly end: number;
}

export class SafetensorsWriter implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #regions: ReadonlyMap<string, Region>;

  private constructor(file: Deno.FsFile, regions: ReadonlyMap<string, Region>) {
    this.#file = file;
    this.#regions = regions;
  }

  /** Creates or truncates the file and writes its header. */
  static async create(path: string, tensors: readonly TensorInfo[]): Promise<SafetensorsWriter> {
    const { bytes, regions } = layOut(tensors);
    const file = await Deno.open(path, { write: true, create: true, truncate: true });
    const writer = new SafetensorsWriter(file, regions);
    await writer.#writeAt(0, bytes);
    return writer;
  }

  /**
   * Appends to one tensor, little-endian.
   * @throws {RangeError} when it would become longer than its shape says
   */
  async append(name: string, values: ArrayBufferView<ArrayBuffer>): Promise<void> {
    const region = this.#regions.get(name);
    if (!region || region.next + values.byteLength > region.end) {
      throw new RangeError(`Cannot write tensor: "${name}" has no room for ${values.byteLength} more bytes`);
    }
    await this.#writeAt(region.next, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    region.next += values.byteLength;
  }

  /** @throws {RangeError} naming a tensor that was not written to its end */
  requireComplete(): void {
    for (const [name, { next, end }] of this.#regions) {
      if (next !== end) throw new RangeError(`Cannot write tensor: "${name}" lacks ${end - next} bytes`);
    }
  }

  async #writeAt(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#file.seek(offset, Deno.SeekMode.Start);
    for (let done = 0; done < bytes.length;) done += await this.#file.write(bytes.subarray(done));
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** The header with its length, and every tensor's region. Widest elements first keeps all tensors aligned. */
function layOut(tensors: readonly TensorInfo[]): { bytes: Uint8Array; regions: Map<string, Region> } {
  const sorted = tensors.toSorted((a, b) =>
    BYTES_PER_ELEMENT[b.dtype] - BYTES_PER_ELEMENT[a.dtype] || (a.name < b.name ? -1 : 1)
  );
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  const ends = new Map<string, number>();
  let end = 0;
  for (const tensor of sorted) {
    const { dtype, shape } = storedForm(tensor), start = end;
    end += storedBytes(dtype, shape)!;
    ends.set(tensor.name, end);
    header[tensor.name] = { dtype, shape, data_offsets: [start, end] };
  }
  const bytes = encodeHeader(header);
  const regions = new Map<string, Region>();
  let next = bytes.length;
  for (const { name } of sorted) {
    const region = { next, end: bytes.length + ends.get(name)! };
    regions.set(name, region);
    next = region.end;
  }
  return { bytes, regions };
}

/** The format has no 4-bit type: two columns make a byte. */
function storedForm({ dtype, shape }: TensorInfo): { dtype: string; shape: readonly number[] } {
  return dtype === "I4" ? { dtype: "U8", shape: [shape[0], shape[1] / 2] } : { dtype, shape };
}

/** Length and JSON, padded with blanks to a multiple of 8 as the format asks. */
function encodeHeader(header: Readonly<Record<string, unknown>>): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(LENGTH_BYTES + headerBytes).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerBytes), true);
  bytes.set(json, LENGTH_BYTES);
  return bytes;
}
