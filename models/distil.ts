// Makes a Hyena checkpoint whose long filters are modes, so that generation needs a state of fixed size, of one whose
// filters are exact. What each layer is off by is told: whether that is little enough is for the model's loss to say.
import { BYTES_PER_ELEMENT, type TensorInfo } from "../kernels/tensor_source.ts";
import { findTensors, readJson } from "./checkpoint.ts";
import { toPairs } from "./complex_array.ts";
import { prepareTarget, writeOtherFiles } from "./converted_folder.ts";
import {
  type HyenaConfig,
  type HyenaFilterRefs,
  hyenaLayout,
  loadHyenaFilter,
  modalRefs,
  parseHyenaConfig,
} from "./hyena.ts";
import { distilFilters } from "./modal_fit.ts";
import { SafetensorsSource } from "./safetensors.ts";
import { SafetensorsWriter } from "./safetensors_writer.ts";

/** Host memory that one piece of a tensor may take. */
const PIECE_BYTES = 16 * 1024 * 1024;

export interface DistilOptions {
  /** Complex modes a channel may have. */
  readonly numModes: number;
  /** Overwrite an existing checkpoint in `target`. */
  readonly force?: boolean;
  /** Called with the channels done and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Converts the Hyena model folder `source` into the model folder `target`. Everything but the filters is copied.
 * @returns by layer, what every channel's taps are off by: the L2 norm of the difference as a share of that of the taps
 * @throws {Deno.errors.AlreadyExists} when `target` holds a model and `force` is not set
 * @throws {TypeError} when `source` is no Hyena model, or distilled already
 */
export async function distilCheckpoint(
  source: string,
  target: string,
  { numModes, force = false, onProgress = () => {} }: DistilOptions,
): Promise<Float64Array[]> {
  const config = parseHyenaConfig(await readJson(source, "config.json", "name the folder of a Hyena model"));
  using tensors = await SafetensorsSource.open(await findTensors(source));
  const layers = exactFilters(config, tensors);
  await prepareTarget(source, target, "distil", force);

  // A half-written file must never be taken for a model.
  const partial = `${target}/model.safetensors.partial`;
  try {
    const errors = await writeTensors(partial, config, tensors, layers, numModes, onProgress);
    await writeOtherFiles(source, target, { filter_modes: numModes });
    await Deno.rename(partial, `${target}/model.safetensors`);
    return errors;
  } catch (error) {
    await Deno.remove(partial).catch(() => {}); // It may never have come to be.
    throw error;
  }
}

interface ExactLayer {
  /** Of the mixer's tensors. */
  readonly prefix: string;
  readonly refs: HyenaFilterRefs;
}

function exactFilters(config: HyenaConfig, tensors: SafetensorsSource): ExactLayer[] {
  return hyenaLayout(config, tensors).mixers.map(({ long }) => {
    if (long.form === "modal") {
      throw new TypeError(
        "Cannot distil: its filters are modes already; start from the model that they were made of",
      );
    }
    return { prefix: long.skip.name.slice(0, -".filter_fn.bias".length), refs: long };
  });
}

async function writeTensors(
  path: string,
  config: HyenaConfig,
  tensors: SafetensorsSource,
  layers: readonly ExactLayer[],
  numModes: number,
  onProgress: (done: number, total: number) => void,
): Promise<Float64Array[]> {
  const { width } = config, modal = layers.map(({ prefix }) => modalRefs(width, numModes, prefix));
  const kept = tensors.names.filter((name) =>
    !layers.some(({ prefix }) => name.startsWith(`${prefix}.filter_fn.`))
  )
    .map((name) => tensors.find(name)!);
  const made = modal.flatMap(({ poles, residues, skip }) => [poles, residues, skip])
    .map((ref): TensorInfo => ({ ...ref, dtype: "F32" }));
  using writer = await SafetensorsWriter.create(path, [...kept, ...made]);
  for (const info of kept) await copyTensor(writer, tensors, info);
  let done = 0;
  const errors: Float64Array[] = [];
  for (const [layer, { refs }] of layers.entries()) {
    const taps = await loadHyenaFilter(config, tensors, refs);
    const distilled = distilFilters(taps, width, numModes, () => onProgress(++done, layers.length * width));
    const { poles, residues, skip } = modal[layer];
    await writer.append(poles.name, Float32Array.from(toPairs(distilled.poles)));
    await writer.append(residues.name, Float32Array.from(toPairs(distilled.residues)));
    await writer.append(skip.name, Float32Array.from(distilled.skip));
    errors.push(distilled.errors);
  }
  writer.requireComplete();
  return errors;
}

async function copyTensor(
  writer: SafetensorsWriter,
  tensors: SafetensorsSource,
  { name, dtype, shape }: TensorInfo,
): Promise<void> {
  const [rows, ...rest] = shape, rowBytes = rest.reduce((a, b) => a * b, BYTES_PER_ELEMENT[dtype]);
  const pieceRows = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
  for (let start = 0; start < rows; start += pieceRows) {
    await writer.append(name, await tensors.readRows(name, start, Math.min(rows, start + pieceRows)));
  }
}
