// The calls that run in a step, of all that a plan has, and their grids. There are a dozen forms of every product, so that
// asking each of them takes the host longer than encoding those that run; steps of one shape have the same ones.
import type { StepShape } from "./control.ts";
import type { Grid } from "./gpu_op.ts";
import type { CompiledCall } from "./pipelines.ts";
import { BLOCK_SIZE } from "./step.ts";

/** Shapes that are remembered, those first forgotten that were first seen: a decode of every batch size, and some more. */
const MAX_SHAPES = 256;

/** A call that runs, and its workgroups. */
export interface ActiveCall {
  readonly call: CompiledCall;
  readonly grid: Grid;
}

interface Known {
  readonly contextLength: number;
  readonly calls: readonly ActiveCall[];
}

export class ActiveCalls {
  readonly #calls: readonly CompiledCall[];
  readonly #byShape = new Map<string, Known>();

  constructor(calls: readonly CompiledCall[]) {
    this.#calls = calls;
  }

  /** In the order in which they run, with grids that may be a little larger than the shape needs. */
  of(exact: StepShape): readonly ActiveCall[] {
    const shape = roundUp(exact), contextLength = shape.maxContextLength;
    const key = keyOf(shape), known = this.#byShape.get(key);
    if (known?.contextLength === contextLength) return known.calls;
    const candidates = known ? known.calls.map(({ call }) => call) : this.#calls;
    const calls = active(candidates, shape);
    if (!known && this.#byShape.size === MAX_SHAPES) {
      const [[first]] = this.#byShape;
      this.#byShape.delete(first);
    }
    this.#byShape.set(key, { contextLength, calls });
    return calls;
  }
}

function active(calls: readonly CompiledCall[], shape: StepShape): ActiveCall[] {
  return calls.flatMap((call) => {
    const grid = call.grid(shape);
    return grid ? [{ call, grid }] : [];
  });
}

/** What differs from step to step, to fewer values: contexts to whole blocks, numbers of adjustments and of online tiles to powers of two. */
function roundUp(shape: StepShape): StepShape {
  return {
    ...shape,
    maxContextLength: Math.ceil(shape.maxContextLength / BLOCK_SIZE) * BLOCK_SIZE,
    numAdjustments: powerAbove(shape.numAdjustments),
    numOnlineTiles: powerAbove(shape.numOnlineTiles),
  };
}

function powerAbove(count: number): number {
  return count && 2 ** Math.ceil(Math.log2(count));
}

/** All of a shape but how long contexts are, which grows with every token and does not decide which calls run. */
function keyOf({ maxContextLength: _, ...rest }: StepShape): string {
  return Object.values(rest).join();
}
