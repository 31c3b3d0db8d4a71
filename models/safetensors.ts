// Reads tensors from safetensors files, one or many shards, by ranges: no file is ever whole in memory. Knows the
// format and nothing of models.
import { z } from "zod";
import {
  multiplierName,
  scaleName,
  type TensorDtype,
  type TensorInfo,
  type TensorSource,
  toFloat32,
} from "../kernels/tensor_source.ts";
import { RangedFile } from "./ranged_file.ts";
import { headerLength, LENGTH_BYTES, parseHeader, type StoredTensor } from "./safetensors_header.ts";

const indexSchema = z.object({ weight_map: z.record(z.string(), z.string()) });

/** Types that the format has a name for. */
const STORED_TYPES = ["F32", "F16", "BF16", "I8"] as const satisfies readonly TensorDtype[];

interface LocatedTensor extends StoredTensor {
  readonly file: RangedFile;
}

export class SafetensorsSource implements TensorSource, Disposable {
  readonly #files: readonly RangedFile[];
  readonly #tensors: ReadonlyMap<string, LocatedTensor>;

  private constructor(files: readonly RangedFile[], tensors: ReadonlyMap<string, LocatedTensor>) {
    this.#files = files;
    this.#tensors = tensors;
  }

  /**
   * Opens a `.safetensors` file, or all shards that a `.safetensors.index.json` beside them names.
   * @throws {SyntaxError} when a file is not valid safetensors, or the index does not fit its shards
   * @throws {RangeError} when an int8 scale is negative or not finite
   * @throws {Deno.errors.NotFound} when a file is missing
   */
  static async open(path: string): Promise<SafetensorsSource> {
    const files: RangedFile[] = [];
    try {
      const tensors = path.endsWith(".json")
        ? await openShards(path, files)
        : new Map((await openShard(path, files)).map((tensor) => [tensor.name, tensor]));
      const source = new SafetensorsSource(files, tensors);
      await source.#checkScales();
      return source;
    } catch (error) {
      for (const file of files) file[Symbol.dispose]();
      throw error;
    }
  }

  /** Names of all tensors, sorted. */
  get names(): string[] {
    return [...this.#tensors.keys()].sort();
  }

  /** Bytes of all tensors together. */
  get numBytes(): number {
    return this.#tensors.values().reduce((sum, tensor) => sum + tensor.numBytes, 0);
  }

  /** @throws {TypeError} when the tensor is stored in a type that no kernel reads (integers, f64, f8) */
  find(name: string): TensorInfo | undefined {
    const tensor = this.#tensors.get(name);
    if (!tensor) return undefined;
    const { dtype, shape } = tensor;
    if (isUsable(dtype)) return { name, dtype, shape };
    if (this.#isInt4(tensor)) return { name, dtype: "I4", shape: [shape[0], shape[1] * 2] };
    throw new TypeError(
      `Cannot load model: tensor "${name}" must be stored as ${STORED_TYPES.join(", ")}, received ${dtype}`,
    );
  }

  async readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const { file, offset, numBytes } = this.#locate(name, start, end);
    return await file.read(offset, numBytes);
  }

  async readRowsInto(
    name: string,
    start: number,
    end: number,
    target: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    const { file, offset, numBytes } = this.#locate(name, start, end);
    if (target.byteLength !== numBytes) {
      throw new RangeError(
        `Cannot read tensor: rows ${start} to ${end} of "${name}" take ${numBytes} bytes, the target has ${target.byteLength}`,
      );
    }
    await file.readInto(offset, target);
  }

  [Symbol.dispose](): void {
    for (const file of this.#files) file[Symbol.dispose]();
  }

  #locate(name: string, start: number, end: number): { file: RangedFile; offset: number; numBytes: number } {
    const tensor = this.#tensors.get(name);
    if (!tensor) throw new TypeError(`Cannot read tensor: the checkpoint has no "${name}"`);
    const rows = tensor.shape[0] ?? 1;
    if (!(start >= 0 && start <= end && end <= rows)) {
      throw new RangeError(
        `Cannot read tensor: rows of "${name}" must be within 0 to ${rows}, received ${start} to ${end}`,
      );
    }
    const rowBytes = rows === 0 ? 0 : tensor.numBytes / rows;
    return { file: tensor.file, offset: tensor.start + start * rowBytes, numBytes: (end - start) * rowBytes };
  }

  /** The format has no 4-bit type: int4 lies in bytes, and its multipliers beside it tell that it is int4. */
  #isInt4({ name, dtype, shape }: StoredTensor): boolean {
    return dtype === "U8" && shape.length === 2 && this.#tensors.has(multiplierName(name));
  }

  /** One bad scale poisons every token, far from its cause: find it before anything runs. */
  async #checkScales(): Promise<void> {
    for (const tensor of this.#tensors.values()) {
      const isScaled = tensor.dtype === "I8" || this.#isInt4(tensor);
      const scale = isScaled ? this.#tensors.get(scaleName(tensor.name)) : undefined;
      if (scale?.dtype !== "F32") continue;
      const values = toFloat32(await scale.file.read(scale.start, scale.numBytes), "F32");
      const row = values.findIndex((value) => !(value >= 0 && value < Infinity));
      if (row >= 0) {
        throw new RangeError(
          `Cannot load model: "${scale.name}" must be finite and not negative, received ${
            values[row]
          } in row ${row}; quantise the model again`,
        );
      }
    }
  }
}

async function openShard(path: string, files: RangedFile[]): Promise<LocatedTensor[]> {
  const file = await RangedFile.open(path);
  files.push(file);
  const fileBytes = file.size;
  const prefix = await file.read(0, Math.min(LENGTH_BYTES, fileBytes));
  const header = await file.read(LENGTH_BYTES, headerLength(prefix, path, fileBytes));
  return parseHeader(header, path, fileBytes).map((tensor) => ({ ...tensor, file }));
}

async function openShards(indexPath: string, files: RangedFile[]): Promise<Map<string, LocatedTensor>> {
  const shardOf = await readIndex(indexPath);
  const folder = indexPath.slice(0, indexPath.lastIndexOf("/") + 1);
  const tensors = new Map<string, LocatedTensor>();
  for (const shard of new Set(shardOf.values())) {
    for (const tensor of await openShard(folder + shard, files)) {
      // What the index does not assign to this shard is no part of the model.
      if (shardOf.get(tensor.name) === shard) tensors.set(tensor.name, tensor);
    }
  }
  for (const [name, shard] of shardOf) {
    if (!tensors.has(name)) {
      throw new SyntaxError(
        `Cannot read "${indexPath}": it says that tensor "${name}" is in "${shard}", which lacks it`,
      );
    }
  }
  return tensors;
}

async function readIndex(path: string): Promise<Map<string, string>> {
  let json: unknown;
  try {
    json = JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(`Cannot read "${path}": it must be JSON: ${error.message}`);
  }
  const index = indexSchema.safeParse(json);
  if (!index.success) {
    throw new SyntaxError(`Cannot read "${path}": "weight_map" must map tensor names to file names`);
  }
  for (const shard of Object.values(index.data.weight_map)) {
    // A shard is a file beside its index: an index must not reach for other files of the machine.
    if (!/^[^/\\]+\.safetensors$/.test(shard)) {
      throw new SyntaxError(
        `Cannot read "${path}": "${shard}" must be the name of a safetensors file beside it`,
      );
    }
  }
  return new Map(Object.entries(index.data.weight_map));
}

function isUsable(dtype: string): dtype is (typeof STORED_TYPES)[number] {
  return (STORED_TYPES as readonly string[]).includes(dtype);
}
