// How many bytes of weights a decode step reads: every product's matrix once, whatever the batch. Rows that are looked up
// (embedding, positions) are next to nothing.
import {
  BYTES_PER_ELEMENT,
  isQuantized,
  multiplierName,
  scaleName,
  type TensorInfo,
} from "../../kernels/tensor_source.ts";
import { openCheckpoint } from "../../models/checkpoint.ts";

/** As the checkpoint stores them, scales included. */
export async function weightBytesOfStep(modelDir: string): Promise<number> {
  using checkpoint = await openCheckpoint(modelDir);
  const { network: { graph }, tensors } = checkpoint;
  const names = new Set(graph.nodes.flatMap((node) => node.op === "linear" ? [node.weight.name] : []));
  return [...names].reduce((sum, name) => {
    const weight = tensors.find(name)!;
    const beside = isQuantized(weight.dtype) ? [scaleName(name), multiplierName(name)] : [];
    const infos = [weight, ...beside.flatMap((other) => tensors.find(other) ?? [])];
    return sum + infos.reduce((bytes, info) => bytes + bytesOf(info), 0);
  }, 0);
}

function bytesOf({ dtype, shape }: TensorInfo): number {
  return shape.reduce((product, size) => product * size, BYTES_PER_ELEMENT[dtype]);
}
