// What is known of a model from its files' headers, before any weight is read: its sizes, its tokenizer's files, and the memory that it
// will take.
import { BYTES_PER_ELEMENT } from "../kernels/tensor_source.ts";
import { weightsOf } from "../kernels/graph_weights.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { DEFAULT_SIZES, openModel } from "./load_model.ts";
import type { LoadOptions } from "./loaded_model.ts";

export interface ModelFacts extends Pick<Checkpoint, "architecture" | "fileFormat" | "tokenizer"> {
  readonly contextLength: number;
  readonly vocabSize: number;
  readonly width: number;
  readonly numParameters: number;
  /** Bytes of the file's tensors. */
  readonly weightBytes: number;
  /** Bytes of weights and KV cache, once loaded there. */
  readonly memory: { readonly cpu: number; readonly gpu: number };
}

/** @throws {Error} saying what is wrong with the folder or file, as loading it would */
export async function modelFacts(load: LoadOptions): Promise<ModelFacts> {
  using checkpoint = await openModel(load.modelDir);
  const { architecture, fileFormat, network, numParameters, weightBytes, tokenizer } = checkpoint;
  const { contextLength, vocabSize, width } = network;
  return {
    architecture,
    fileFormat,
    tokenizer,
    contextLength,
    vocabSize,
    width,
    numParameters,
    weightBytes,
    memory: {
      cpu: weightMemory(checkpoint, "cpu", load) + (load.kvBytes ?? DEFAULT_SIZES.cpu.kvBytes),
      gpu: weightMemory(checkpoint, "gpu", load) + (load.kvBytes ?? DEFAULT_SIZES.gpu.kvBytes),
    },
  };
}

/** On the CPU integers stay such, int4 as int8, and all else is f32; on a GPU types stay, or are what was asked for. */
function weightMemory(
  { network, tensors }: Checkpoint,
  device: "cpu" | "gpu",
  { storage }: LoadOptions,
): number {
  return weightsOf(network.graph).reduce((sum, { ref }) => {
    const dtype = tensors.find(ref.name)?.dtype ?? "F32", count = ref.shape.reduce((a, b) => a * b, 1);
    if (dtype === "I8" || dtype === "I4") {
      return sum + count * (device === "cpu" ? 1 : BYTES_PER_ELEMENT[dtype]);
    }
    if (device === "cpu" || ref.shape.length < 2) return sum + 4 * count;
    return sum + count * (storage ? (storage === "f32" ? 4 : 2) : BYTES_PER_ELEMENT[dtype]);
  }, 0);
}
