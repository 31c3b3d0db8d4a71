// Rotary position embedding as a tensor beside a checkpoint's: cosine and sine for every position, made in float64, since
// a GPU's own are not exact for large angles.
import type { WeightRef } from "../kernels/tensor_source.ts";
import type { DerivedTensor } from "./derived_source.ts";

/** Angles a position: pair i turns by position * base^(-2 i / dims). */
export interface RotaryAngles {
  /** Columns of a head that are turned, two a pair. */
  readonly dims: number;
  readonly base: number;
  readonly numPositions: number;
}

/** [numPositions, dims], as the rotary op reads it. */
export function rotaryTurns(
  name: string,
  { dims, base, numPositions }: RotaryAngles,
): DerivedTensor & WeightRef {
  return {
    name,
    shape: [numPositions, dims],
    from: [],
    compute: () => {
      const turns = new Float32Array(numPositions * dims);
      for (let position = 0, at = 0; position < numPositions; position++) {
        for (let i = 0; i < dims; i += 2) {
          const angle = position * base ** (-i / dims);
          turns[at++] = Math.cos(angle);
          turns[at++] = Math.sin(angle);
        }
      }
      return Promise.resolve(turns);
    },
  };
}
