// Makes an int8 checkpoint of a float one: weight-only, symmetric, one scale for each row. Streams piece by piece, so
// that a checkpoint larger than memory can be converted. Knows no device.
import {
  BYTES_PER_ELEMENT,
  requireTensor,
  scaleName,
  type TensorInfo,
  type TensorSource,
  toFloat32,
} from "../kernels/tensor_source.ts";
import { findTensors, openCheckpoint, readJson } from "./checkpoint.ts";
import { weightsOf, type WeightUse } from "../kernels/graph_weights.ts";
import { SafetensorsWriter } from "./safetensors_writer.ts";

/** Host memory that one piece of a matrix may take as f32. */
const PIECE_BYTES = 16 * 1024 * 1024;

/** Files that a folder may hold besides its weights and config.json, copied as they are. */
const COPIED = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "vocab.json",
  "merges.txt",
];

export interface QuantizeOptions {
  /** Overwrite an existing checkpoint in `target`. */
  readonly force?: boolean;
  /** Called with the elements done and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Bytes of all tensors before and after. */
export interface QuantizeResult {
  readonly sourceBytes: number;
  readonly targetBytes: number;
}

/**
 * Converts the model folder `source` (f32, f16 or bf16) into the int8 model folder `target`: matrices and embeddings
 * become I8 [out, in] with an F32 [out] scale; norms, biases and positions keep their values; buffers that the network
 * does not use are left out.
 * @throws {Deno.errors.AlreadyExists} when `target` holds a model and `force` is not set
 * @throws {TypeError} when `source` is quantised already
 * @throws {RangeError} when a weight is not finite
 */
export async function quantizeCheckpoint(
  source: string,
  target: string,
  options: QuantizeOptions = {},
): Promise<QuantizeResult> {
  using checkpoint = await openCheckpoint(source);
  const uses = weightsOf(checkpoint.network.graph);
  const sourceBytes = requireFloats(uses, checkpoint.tensors);
  await prepareTarget(source, target, options.force ?? false);

  // A half-written file must never be taken for a model.
  const partial = `${target}/model.safetensors.partial`;
  const infos = uses.flatMap((use) => storedForms(use, checkpoint.tensors));
  try {
    await writeTensors(partial, infos, uses, checkpoint.tensors, options);
  } catch (error) {
    await Deno.remove(partial).catch(() => {}); // It may never have come to be.
    throw error;
  }
  await copyFiles(source, target);
  await Deno.rename(partial, `${target}/model.safetensors`);
  return { sourceBytes, targetBytes: totalBytes(infos) };
}

/**
 * Rounds rows to int8: scale = max|row| / 127, value = round(x / scale). A row of zeros has scale 1.
 * @param values [rows, width]
 */
export function quantizeRows(
  values: Float32Array,
  width: number,
): { values: Int8Array<ArrayBuffer>; scales: Float32Array<ArrayBuffer> } {
  const rows = values.length / width;
  const quantized = new Int8Array(values.length), scales = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const start = row * width;
    const scale = scales[row] = rowScale(values.subarray(start, start + width));
    for (let i = start; i < start + width; i++) {
      quantized[i] = Math.max(-127, Math.min(127, Math.round(values[i] / scale)));
    }
  }
  return { values: quantized, scales };
}

function rowScale(row: Float32Array): number {
  let largest = 0;
  for (const value of row) largest = Math.max(largest, Math.abs(value));
  if (!Number.isFinite(largest)) throw new RangeError("weights must be finite");
  // Rows so small that the scale would vanish in f32 count as zero.
  return Math.fround(largest / 127) || 1;
}

async function writeTensors(
  path: string,
  infos: readonly TensorInfo[],
  uses: readonly WeightUse[],
  tensors: TensorSource,
  { onProgress }: QuantizeOptions,
): Promise<void> {
  using writer = await SafetensorsWriter.create(path, infos);
  const total = uses.reduce((sum, { ref }) => sum + numElements(ref.shape), 0);
  let done = 0;
  for (const use of uses) {
    const [rows, ...rest] = use.ref.shape;
    const width = numElements(rest);
    const pieceRows = Math.max(1, Math.floor(PIECE_BYTES / (width * 4)));
    for (let start = 0; start < rows; start += pieceRows) {
      const end = Math.min(rows, start + pieceRows);
      await convertRows(writer, tensors, use, start, end);
      onProgress?.(done += (end - start) * width, total);
    }
  }
  writer.requireComplete();
}

async function convertRows(
  writer: SafetensorsWriter,
  tensors: TensorSource,
  use: WeightUse,
  start: number,
  end: number,
): Promise<void> {
  const { name } = use.ref;
  const { dtype } = tensors.find(name)!;
  const bytes = await tensors.readRows(name, start, end);
  if (!isQuantized(use)) {
    return await writer.append(name, dtype === "F16" ? bytes : toFloat32(bytes, dtype));
  }
  try {
    const { values, scales } = quantizeRows(toFloat32(bytes, dtype), use.ref.shape[1]);
    await writer.append(name, values);
    await writer.append(scaleName(name), scales);
  } catch (error) {
    throw new RangeError(`Cannot quantize "${name}": ${(error as Error).message}`, { cause: error });
  }
}

/** What rounding hurts most for what it saves stays as it is: positions and everything that is not a matrix. */
function isQuantized(use: WeightUse): boolean {
  return use.role === "matrix" || use.role === "embedding";
}

/** The tensors that stand for one weight in the converted file. bf16 becomes f32, which holds it exactly. */
function storedForms(use: WeightUse, tensors: TensorSource): TensorInfo[] {
  const { name, shape } = use.ref;
  if (!isQuantized(use)) return [{ name, shape, dtype: tensors.find(name)!.dtype === "F16" ? "F16" : "F32" }];
  return [{ name, shape, dtype: "I8" }, { name: scaleName(name), shape: [shape[0]], dtype: "F32" }];
}

/** Bytes of the weights; rounding twice would lose quality without a word, so int8 is refused. */
function requireFloats(uses: readonly WeightUse[], tensors: TensorSource): number {
  const infos = uses.map(({ ref }) => requireTensor(tensors, ref));
  const quantized = infos.find(({ dtype }) => dtype === "I8");
  if (quantized) {
    throw new TypeError(
      `Cannot quantize: "${quantized.name}" is int8 already; start from the float checkpoint`,
    );
  }
  return totalBytes(infos);
}

async function prepareTarget(source: string, target: string, force: boolean): Promise<void> {
  if (await Deno.stat(target).then(({ isDirectory }) => !isDirectory, () => false)) {
    throw new TypeError(`Cannot quantize: "${target}" is a file; name a folder`);
  }
  await Deno.mkdir(target, { recursive: true });
  if (await Deno.realPath(source) === await Deno.realPath(target)) {
    throw new TypeError(`Cannot quantize: "${target}" is the checkpoint itself; name another folder`);
  }
  const existing = force ? undefined : await findTensors(target).catch(() => undefined);
  if (existing) {
    throw new Deno.errors.AlreadyExists(
      `Cannot quantize: "${existing}" exists; name another folder, or overwrite it with --force`,
    );
  }
}

async function copyFiles(source: string, target: string): Promise<void> {
  const config = await readJson(source, "config.json") as Record<string, unknown>;
  const quantized = { ...config, quantization_config: { quant_method: "hyades", bits: 8 } };
  await Deno.writeTextFile(`${target}/config.json`, `${JSON.stringify(quantized, null, 2)}\n`);
  for (const file of COPIED) {
    // Copied by content: a source that is read-only must not make the copy so.
    const content = await Deno.readFile(`${source}/${file}`).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    if (content) await Deno.writeFile(`${target}/${file}`, content);
  }
}

function totalBytes(infos: readonly TensorInfo[]): number {
  return infos.reduce((sum, { dtype, shape }) => sum + BYTES_PER_ELEMENT[dtype] * numElements(shape), 0);
}

function numElements(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
