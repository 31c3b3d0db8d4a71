// Names and shapes of what H3 and Hyena language models share: embedding, blocks of two norms and an MLP, final norm, head.
// The mixer between the norms is each family's own. Knows no configuration file.
import { requireTensor, type TensorSource, type WeightRef } from "../kernels/tensor_source.ts";

export interface NormRefs {
  readonly scale: WeightRef;
  readonly bias: WeightRef;
}

export interface LinearRefs {
  /** [outputs, inputs] */
  readonly weight: WeightRef;
  readonly bias: WeightRef;
}

export interface BlockRefs {
  /** Before the mixer. */
  readonly norm1: NormRefs;
  /** Before the MLP. */
  readonly norm2: NormRefs;
  readonly fc1: LinearRefs;
  readonly fc2: LinearRefs;
}

export interface DecoderLayout {
  readonly embedding: WeightRef;
  readonly blocks: readonly BlockRefs[];
  readonly finalNorm: NormRefs;
  /** The embedding where they are tied. */
  readonly head: WeightRef;
}

export interface DecoderSizes {
  readonly vocabSize: number;
  readonly width: number;
  readonly numLayers: number;
  readonly innerWidth: number;
  readonly tiedHead: boolean;
}

/** LayerNorms of blocks have this epsilon in every model of both families; only the final one's is configured. */
export const BLOCK_EPSILON = 1e-5;

/** @param prefix of all names but the head's: "backbone." or what a port put before it */
export function decoderLayout(sizes: DecoderSizes, prefix: string): DecoderLayout {
  const { vocabSize, width, numLayers, innerWidth, tiedHead } = sizes;
  const embedding = { name: `${prefix}embeddings.word_embeddings.weight`, shape: [vocabSize, width] };
  return {
    embedding,
    blocks: Array.from({ length: numLayers }, (_, i) => {
      const at = `${prefix}layers.${i}`;
      return {
        norm1: normRefs(`${at}.norm1`, width),
        norm2: normRefs(`${at}.norm2`, width),
        fc1: linearRefs(`${at}.mlp.fc1`, innerWidth, width),
        fc2: linearRefs(`${at}.mlp.fc2`, width, innerWidth),
      };
    }),
    finalNorm: normRefs(`${prefix}ln_f`, width),
    head: tiedHead ? embedding : { name: "lm_head.weight", shape: [vocabSize, width] },
  };
}

export function linearRefs(name: string, outputs: number, inputs: number): LinearRefs {
  return {
    weight: { name: `${name}.weight`, shape: [outputs, inputs] },
    bias: { name: `${name}.bias`, shape: [outputs] },
  };
}

function normRefs(name: string, width: number): NormRefs {
  return {
    scale: { name: `${name}.weight`, shape: [width] },
    bias: { name: `${name}.bias`, shape: [width] },
  };
}

/**
 * Checks every weight of a layout.
 * @throws {TypeError} naming the first that the source lacks or has in another shape
 */
export function requireLayout(source: TensorSource, layout: object): void {
  for (const ref of weightRefsOf(layout)) requireTensor(source, ref);
}

/** Every weight that is anywhere in `layout`, a tree of references; a tied head twice. */
export function weightRefsOf(layout: object): WeightRef[] {
  if (isWeightRef(layout)) return [layout];
  return Object.values(layout).flatMap((part) =>
    typeof part === "object" && part !== null ? weightRefsOf(part) : []
  );
}

function isWeightRef(layout: object): layout is WeightRef {
  return "name" in layout && "shape" in layout;
}
