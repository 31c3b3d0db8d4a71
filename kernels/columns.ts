// Columns of values, as ops read them that several parts of one row go into. Knows no op.
import type { Value } from "./graph.ts";

/** Neighbouring columns of a value. */
export interface Columns {
  readonly value: Value;
  readonly first: number;
  readonly width: number;
}

/**
 * Columns `first` to `first + width - 1` of a value.
 * @throws {RangeError} when the value has no such columns
 */
export function columnsOf(value: Value, first: number, width: number): Columns {
  if (first + width > value.width) {
    throw new RangeError(
      `Cannot build graph: columns ${first} to ${first + width - 1} are beyond width ${value.width}`,
    );
  }
  return { value, first, width };
}

/** All columns of a value, or those that are named already. */
export function allOf(input: Value | Columns): Columns {
  return "value" in input ? input : columnsOf(input, 0, input.width);
}

/** @throws {RangeError} when they are not `width` columns */
export function sameWidth(input: Value | Columns, width: number): Columns {
  const columns = allOf(input);
  if (columns.width === width) return columns;
  throw new RangeError(`Cannot build graph: a gate must have width ${width}, received ${columns.width}`);
}

/** The values of columns, each once. */
export function valuesOf(...columns: (Columns | undefined)[]): Value[] {
  return [...new Set(columns.flatMap((some) => some ? [some.value] : []))];
}
