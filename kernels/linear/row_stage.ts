// Writes the part of the one-row form of linear that brings x into workgroup memory, from where neighbouring threads read
// neighbouring words of it.
import type { Binding } from "../gpu_op.ts";
import { unroll } from "../wgsl.ts";
import { broughtPlace, fixedPointMemory, storeFixedPoint } from "./fixed_point.ts";
import type { GemvForm } from "./gemv_form.ts";

export interface RowStage {
  /** WGSL: bindings from a first one on, memory, and functions. */
  readonly code: string;
  readonly bindings: readonly Binding[];
  /** WGSL for `main`: asks for x, or its slice from word `firstWord` on, and what is needed to make it. */
  readonly loads: string;
  /** WGSL for `main`: leaves it in workgroup memory. */
  readonly bring: string;
}

/** What the form in whole numbers, whose threads have words of x, reads them from: whole numbers, or what a stage brings. */
export type WordStage = RowStage | WholeWords;

/** x as what made it left it: whole_numbers.ts. */
export interface WholeWords {
  /** WGSL: the `WholeWord` that is word `at`. */
  wordAt(at: string): string;
}

/** Brings x as it is, slice by slice. */
export function plainStage(form: GemvForm): RowStage {
  const { threads, wordElements, wordsPerRow, wordsPerSlice } = form;
  const sliceQuads = wordsPerSlice * wordElements / 4, rowQuads = wordsPerRow * wordElements / 4;
  const each = (line: (i: number) => string) => unroll(Math.ceil(sliceQuads / threads), line);
  return {
    code: stagedMemory(form, sliceQuads),
    bindings: [],
    loads: each((i) =>
      `    let quad${i} = thread + ${i * threads}u;
    let from${i} = firstWord * ${wordElements / 4}u + quad${i};
    let held${i} = quad${i} < ${sliceQuads}u && from${i} < ${rowQuads}u;
    let x${i} = x[min(from${i}, ${rowQuads - 1}u)];`
    ),
    bring: `${each((i) => bringQuad(form, sliceQuads, i, `x${i}`, `held${i}`))}
    workgroupBarrier();`,
  };
}

/** WGSL: where `bringQuad` leaves a row, or a slice, of so many fours. */
export function stagedMemory(form: GemvForm, quads: number): string {
  return form.wholeType
    ? fixedPointMemory(form.wholeType, form.wordsPerSlice)
    : `var<workgroup> staged: array<vec4<f32>, ${quads}>;`;
}

/**
 * WGSL for all threads: leaves four columns in memory, which are the `quad<i>`th of so many, where `held`. As floats the
 * fours of a word lie apart, so that neighbouring words are neighbours: staged [quads of a word][words].
 */
export function bringQuad(form: GemvForm, quads: number, i: number, value: string, held: string): string {
  const { wholeType, wordsPerSlice } = form;
  if (wholeType) return storeFixedPoint(i, value, held, broughtPlace(wholeType, wordsPerSlice));
  const wordQuads = form.wordElements / 4;
  const place = `quad${i} % ${wordQuads}u * ${quads / wordQuads}u + quad${i} / ${wordQuads}u`;
  return `    if (${held}) { staged[${place}] = ${value}; }`;
}
