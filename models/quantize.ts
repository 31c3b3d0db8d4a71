// Makes an int8 or int4 checkpoint of a finer one: weight-only, one scale for each row, with int4 a multiple of it for
// each group. Streams piece by piece, so that a checkpoint larger than memory can be converted. Knows no device.
import { GROUP, groupsOf } from "../kernels/int4.ts";
import {
  BYTES_PER_ELEMENT,
  multiplierName,
  readFloat32Rows,
  requireTensor,
  scaleName,
  type TensorDtype,
  type TensorInfo,
  type TensorSource,
} from "../kernels/tensor_source.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { prepareTarget, writeOtherFiles } from "./converted_folder.ts";
import { quantizeRowsToInt4 } from "./int4_rounding.ts";
import { weightsOf, type WeightUse } from "../kernels/graph_weights.ts";
import { SafetensorsWriter } from "./safetensors_writer.ts";

/** Host memory that one piece of a matrix may take as f32. */
const PIECE_BYTES = 16 * 1024 * 1024;

/** Bits of a weight. With 4, embeddings (and heads tied to them) have 8: rounding those costs most for what it saves. */
export const QUANTIZED_BITS = [4, 8] as const;
export type QuantizedBits = (typeof QUANTIZED_BITS)[number];

export interface QuantizeOptions {
  /** 8 unless given. */
  readonly bits?: QuantizedBits;
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
 * Converts the model folder `source` (f32, f16 or bf16; int8 too, for 4 bits) into the model folder `target`: matrices
 * and embeddings become I8 [out, in], with 4 bits matrices I4, with an F32 [out] scale; norms, biases, positions and what
 * filters and state-space models are made of keep their values; buffers that the network does not use are left out.
 * @throws {Deno.errors.AlreadyExists} when `target` holds a model and `force` is not set
 * @throws {TypeError} when `source` is quantised already, to no more bits than it should be
 * @throws {RangeError} when a weight is not finite
 */
export async function quantizeCheckpoint(
  source: string,
  target: string,
  options: QuantizeOptions = {},
): Promise<QuantizeResult> {
  using checkpoint = await openCheckpoint(source);
  const bits = options.bits ?? 8;
  const uses = storedUses(weightsOf(checkpoint.network.graph), checkpoint.tensors);
  const sourceBytes = requireFiner(uses, checkpoint.tensors, bits);
  await prepareTarget(source, target, "quantize", options.force ?? false);

  // A half-written file must never be taken for a model.
  const partial = `${target}/model.safetensors.partial`;
  const infos = uses.flatMap((use) => storedForms(use, checkpoint.tensors, bits));
  try {
    await writeTensors(partial, infos, uses, checkpoint.tensors, options);
  } catch (error) {
    await Deno.remove(partial).catch(() => {}); // It may never have come to be.
    throw error;
  }
  await writeOtherFiles(source, target, { quantization_config: { quant_method: "hyades", bits } });
  await Deno.rename(partial, `${target}/model.safetensors`);
  return { sourceBytes, targetBytes: totalBytes(infos) };
}

/**
 * What is to be written: in the place of what is computed when a model is loaded, what that is computed from, as it is. A
 * tensor that several are computed from is written once, and one that is multiplied by as well in that role.
 */
function storedUses(uses: readonly WeightUse[], tensors: TensorSource): WeightUse[] {
  const from = ({ ref }: WeightUse) => tensors.computedFrom?.(ref.name);
  const parameters = uses.flatMap((use) => from(use) ?? [])
    .map(({ name, shape }): WeightUse => ({ ref: { name, shape }, role: "vector" }));
  const stored = [...uses.filter((use) => !from(use)), ...parameters];
  const names = stored.map(({ ref }) => ref.name);
  return stored.filter(({ ref }, i) => names.indexOf(ref.name) === i);
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
  { bits = 8, onProgress }: QuantizeOptions,
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
      await convertRows(writer, tensors, use, bits, start, end);
      onProgress?.(done += (end - start) * width, total);
    }
  }
  writer.requireComplete();
}

async function convertRows(
  writer: SafetensorsWriter,
  tensors: TensorSource,
  use: WeightUse,
  bits: QuantizedBits,
  start: number,
  end: number,
): Promise<void> {
  const { name, shape } = use.ref;
  const from = tensors.find(name)!.dtype, to = targetDtype(use, from, bits);
  if (to === from) {
    await writer.append(name, await tensors.readRows(name, start, end));
    if (to === "I8") {
      await writer.append(scaleName(name), await tensors.readRows(scaleName(name), start, end));
    }
    return;
  }
  const weights = await readFloat32Rows(tensors, use.ref, start, end);
  if (to === "F32") return await writer.append(name, weights);
  try {
    if (to === "I4") {
      const { packed, multipliers, scales } = quantizeRowsToInt4(weights, shape[1]);
      await writer.append(name, packed);
      await writer.append(multiplierName(name), multipliers);
      await writer.append(scaleName(name), scales);
    } else {
      const { values, scales } = quantizeRows(weights, shape[1]);
      await writer.append(name, values);
      await writer.append(scaleName(name), scales);
    }
  } catch (error) {
    throw new RangeError(`Cannot quantize "${name}": ${(error as Error).message}`, { cause: error });
  }
}

/**
 * What rounding hurts most for what it saves stays as it is: positions and everything that is not a matrix. bf16 becomes
 * f32, which holds it exactly.
 */
function targetDtype({ role }: WeightUse, from: TensorDtype, bits: QuantizedBits) {
  if (role === "matrix") return bits === 4 ? "I4" : "I8";
  if (role === "embedding") return "I8";
  return from === "F16" ? "F16" : "F32";
}

/** The tensors that stand for one weight in the converted file. */
function storedForms(use: WeightUse, tensors: TensorSource, bits: QuantizedBits): TensorInfo[] {
  const { name, shape } = use.ref, [rows, columns] = shape;
  const dtype = targetDtype(use, tensors.find(name)!.dtype, bits);
  const scale: TensorInfo = { name: scaleName(name), shape: [rows], dtype: "F32" };
  if (dtype === "I8") return [{ name, shape, dtype }, scale];
  if (dtype !== "I4") return [{ name, shape, dtype }];
  const groups = groupsOf(columns);
  return [
    { name, shape: [rows, groups * GROUP], dtype },
    { name: multiplierName(name), shape: [rows, groups], dtype: "I8" },
    scale,
  ];
}

/** Bytes of the weights; rounding twice to as many bits, or to more, would lose quality without a word. */
function requireFiner(uses: readonly WeightUse[], tensors: TensorSource, bits: QuantizedBits): number {
  const infos = uses.map(({ ref }) => requireTensor(tensors, ref));
  const coarse = infos.find(({ dtype }) => dtype === "I4") ??
    infos.find(({ dtype }) => dtype === "I8" && bits === 8);
  if (coarse) {
    throw new TypeError(
      `Cannot quantize: "${coarse.name}" is int${coarse.dtype === "I4" ? 4 : 8} already; start from ${
        bits === 4 ? "the float or int8" : "the float"
      } checkpoint`,
    );
  }
  return totalBytes(infos);
}

function totalBytes(infos: readonly TensorInfo[]): number {
  return infos.reduce((sum, { dtype, shape }) => sum + BYTES_PER_ELEMENT[dtype] * numElements(shape), 0);
}

function numElements(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
