// The least time that a GPU needs for what a dispatch has to do: what its memory or its arithmetic takes, whichever is
// longer. Knows no kernel.
import type { Work } from "../../kernels/gpu_op.ts";

export interface Roofline {
  /** Bytes a second that memory gives. */
  readonly bandwidth: number;
  /** FLOP a second of what does the arithmetic. */
  readonly rates: Readonly<Record<Work["units"], number>>;
}

/** What bounds a dispatch: memory, or what does its arithmetic. */
export type Bound = "memory" | Work["units"];

export interface Least {
  readonly us: number;
  readonly bound: Bound;
}

export function leastTime({ bytes, flop, units }: Work, { bandwidth, rates }: Roofline): Least {
  const memoryUs = bytes / bandwidth * 1e6, arithmeticUs = flop / rates[units] * 1e6;
  return memoryUs >= arithmeticUs ? { us: memoryUs, bound: "memory" } : { us: arithmeticUs, bound: units };
}
