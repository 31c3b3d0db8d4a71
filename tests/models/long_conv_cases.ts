// The H3 and Hyena checkpoints of the tests (fixtures/make_long_conv_checkpoints.py), their references, and the golden
// values of their mixers with the rule by which the weights are filled (fixtures/long_conv_reference/check_golden.py).
import { fileURLToPath } from "node:url";
import { readJson } from "../../models/checkpoint.ts";
import { weightRefsOf } from "../../models/decoder_layout.ts";
import { parseH3Config } from "../../models/h3.ts";
import { parseHyenaConfig } from "../../models/hyena.ts";
import { SafetensorsSource } from "../../models/safetensors.ts";
import golden from "../fixtures/long_conv_golden.json" with { type: "json" };
import type { DecoderReference } from "./decoder_reference.ts";
import { loadH3Reference } from "./h3_reference.ts";
import { loadHyenaReference } from "./hyena_reference.ts";
import { logitError } from "./logit_error.ts";
import { readExpected } from "./parity_cases.ts";

export const GOLDEN = golden;

export const H3_CASES = ["h3-attention", "h3-rotary-old-names"] as const;
export const HYENA_CASES = ["hyena-lm", "hyena-dna-hf"] as const;
export const STRIPED_CASE = "striped-hyena" as const;
export const LONG_CONV_CASES = [...H3_CASES, ...HYENA_CASES];

export type LongConvCase = (typeof LONG_CONV_CASES)[number] | typeof STRIPED_CASE;

export function caseFolder(name: LongConvCase): string {
  return fileURLToPath(new URL(`../fixtures/long_conv/${name}`, import.meta.url));
}

export interface OpenCase extends Disposable {
  readonly config: Record<string, unknown>;
  readonly source: SafetensorsSource;
}

export async function openCase(name: LongConvCase): Promise<OpenCase> {
  const config = await readJson(caseFolder(name), "config.json", "") as Record<string, unknown>;
  const source = await SafetensorsSource.open(`${caseFolder(name)}/model.safetensors`);
  return { config, source, [Symbol.dispose]: () => source[Symbol.dispose]() };
}

export async function loadReference(name: LongConvCase): Promise<DecoderReference> {
  using opened = await openCase(name);
  const { config, source } = opened;
  return name.startsWith("h3")
    ? await loadH3Reference(parseH3Config(config), source)
    : await loadHyenaReference(parseHyenaConfig(config), source);
}

/** What the reference in Python gives. */
export function expectedOf(name: LongConvCase): ReturnType<typeof readExpected> {
  return readExpected({ expectedDir: caseFolder(name) });
}

/** The reference in Python and ours sum in different orders, in float64 both, on the same stored f32 values. */
export const REFERENCE_TOLERANCE = 1e-12;

/** The id of the largest of the first `numTokens` logits. */
export function bestToken(logits: Float64Array, numTokens: number): number {
  const drawable = logits.subarray(0, numTokens);
  return drawable.indexOf(Math.max(...drawable));
}

/** A cos(1 + 0.37 i + 0.11 s) */
export function fill(length: number, s: number, amplitude = 0.5): Float64Array {
  return Float64Array.from({ length }, (_, i) => amplitude * Math.cos(1 + 0.37 * i + 0.11 * s));
}

/** Largest difference, as a share of the largest expected magnitude where that is above 1. */
export function goldenError(actual: ArrayLike<number>, expected: readonly number[]): number {
  if (actual.length !== expected.length) return Infinity;
  const scale = Math.max(1, ...expected.map(Math.abs));
  const errors = expected.map((value, i) => Math.abs(actual[i] - value) / scale);
  return errors.every(Number.isFinite) ? Math.max(...errors) : Infinity;
}

/** Golden values have ten decimals. */
export const GOLDEN_TOLERANCE = 1e-10;

/** Largest difference as a share of the largest expected magnitude. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  return logitError(actual, expected, expected.length).largest;
}

/** Elements of all weights of a layout, a tied head counted once. */
export function countElements(layout: object): number {
  const shapes = new Map(weightRefsOf(layout).map(({ name, shape }) => [name, shape]));
  return shapes.values().reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
}
