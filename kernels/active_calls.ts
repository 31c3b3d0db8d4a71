// The calls that run in a step, of all that a plan has. There are a dozen forms of every product, so that asking each of
// them takes the host longer than encoding those that run; steps of one shape have the same ones.
import type { StepShape } from "./control.ts";
import type { CompiledCall } from "./pipelines.ts";

/** Shapes that are remembered, those first forgotten that were first seen: a decode of every batch size, and some more. */
const MAX_SHAPES = 256;

export class ActiveCalls {
  readonly #calls: readonly CompiledCall[];
  readonly #byShape = new Map<string, readonly CompiledCall[]>();

  constructor(calls: readonly CompiledCall[]) {
    this.#calls = calls;
  }

  /** In the order in which they run. */
  of(shape: StepShape): readonly CompiledCall[] {
    const key = keyOf(shape), known = this.#byShape.get(key);
    if (known) return known;
    const active = this.#calls.filter((call) => call.grid(shape) !== undefined);
    if (this.#byShape.size === MAX_SHAPES) {
      const [[first]] = this.#byShape;
      this.#byShape.delete(first);
    }
    this.#byShape.set(key, active);
    return active;
  }
}

/** All of a shape but what grows with every token: how long contexts are, and how many adjustments where there are any. */
function keyOf(shape: StepShape): string {
  const { maxContextLength: _, numAdjustments, ...rest } = shape;
  return [...Object.values(rest), numAdjustments > 0].join();
}
