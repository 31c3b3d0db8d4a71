// Lowers a graph to an ONNX model for the CPU: walks the nodes and lets each op write its own form (<op>/onnx.ts).
// Owns names, constants and the model's inputs and outputs; knows neither how an op computes nor who runs the model.
import { attentionToOnnx } from "./attention/onnx.ts";
import { embeddingToOnnx } from "./embedding/onnx.ts";
import { gatedToOnnx } from "./gated/onnx.ts";
import { gatherRowsToOnnx } from "./gather_rows/onnx.ts";
import type { Graph, Node, Value } from "./graph.ts";
import { layerNormToOnnx } from "./layer_norm/onnx.ts";
import { linearToOnnx } from "./linear/onnx.ts";
import {
  type OnnxAttribute,
  type OnnxInitializer,
  type OnnxNode,
  type OnnxValueInfo,
  writeOnnxModel,
} from "./onnx_writer.ts";
import type { WeightRef } from "./tensor_source.ts";

/**
 * The model's inputs that describe a run: B sequences with T new tokens each, and room for L earlier keys each.
 * Beside them it takes the graph's own inputs by name, and `keyInput(layer)` and `valueInput(layer)`, f32
 * [B, numKvHeads, L, headSize]: the cache before this run.
 */
export const RUN_INPUT = {
  /** int32 [B * T] */
  tokenIds: "token_ids",
  /** int32 [B * T] */
  positions: "positions",
  /** int32 [numSamples] */
  sampleRows: "sample_rows",
  /** f32 [B, 1, T, 1, L + T]: 0 where a token sees a key, earlier ones before new ones; else MASKED */
  mask: "mask",
  /** int64 [1]: B */
  batchSize: "batch_size",
  /** int64 [2]: L, T */
  keyCounts: "key_counts",
} as const;

/** Added to scores of keys that a token must not see: exp() of it is 0, yet it stays finite. */
export const MASKED = -1e30;

export function keyInput(layer: number): string {
  return `past_key_${layer}`;
}

export function valueInput(layer: number): string {
  return `past_value_${layer}`;
}

/** f32 [B * T, numKvHeads * headSize]: the keys of the new tokens, for the cache. */
export function keyOutput(layer: number): string {
  return `new_key_${layer}`;
}

/** f32 [B * T, numKvHeads * headSize] */
export function valueOutput(layer: number): string {
  return `new_value_${layer}`;
}

/** ONNX bytes, and the weights that must be supplied as external files, f32, one named `path` each. */
export interface OnnxProgram {
  readonly model: Uint8Array<ArrayBuffer>;
  readonly weights: readonly { readonly path: string; readonly ref: WeightRef }[];
  /** Name of the model's output that is the graph's. */
  readonly outputName: string;
}

export function lowerToOnnx(graph: Graph): OnnxProgram {
  const context = new OnnxContext();
  for (const node of graph.nodes) lowerNode(context, node);
  const outputName = context.nameOf(graph.output);
  return {
    outputName,
    model: writeOnnxModel({
      name: "hyades",
      opsets: { "": 21, "com.microsoft": 1 },
      nodes: context.nodes,
      initializers: context.initializers,
      inputs: modelInputs(graph),
      outputs: modelOutputs(graph, outputName),
    }),
    weights: context.weights,
  };
}

function lowerNode(context: OnnxContext, node: Node): void {
  switch (node.op) {
    case "input":
      return context.define(node.output, node.name);
    case "embedding":
      return embeddingToOnnx(context, node);
    case "layerNorm":
      return layerNormToOnnx(context, node);
    case "linear":
      return linearToOnnx(context, node);
    case "gated":
      return gatedToOnnx(context, node);
    case "attention":
      return attentionToOnnx(context, node);
    case "gatherRows":
      return gatherRowsToOnnx(context, node);
    default:
      throw new TypeError(`Cannot lower graph: op "${node.op}" has no ONNX form; take another device`);
  }
}

function modelInputs(graph: Graph): OnnxValueInfo[] {
  const own = graph.nodes.filter((node) => node.op === "input");
  return [
    ...own.map(({ name, output }) => float(name, [output.rows, output.width])),
    { name: RUN_INPUT.tokenIds, dtype: "int32", shape: ["tokens"] },
    { name: RUN_INPUT.positions, dtype: "int32", shape: ["tokens"] },
    { name: RUN_INPUT.sampleRows, dtype: "int32", shape: ["samples"] },
    float(RUN_INPUT.mask, ["batch", 1, "queries", 1, "keys"]),
    { name: RUN_INPUT.batchSize, dtype: "int64", shape: [1] },
    { name: RUN_INPUT.keyCounts, dtype: "int64", shape: [2] },
    ...graph.kvLayers.flatMap(({ numKvHeads, headSize }, layer) =>
      [keyInput(layer), valueInput(layer)].map((name) => float(name, ["batch", numKvHeads, "past", headSize]))
    ),
  ];
}

function modelOutputs(graph: Graph, outputName: string): OnnxValueInfo[] {
  return [
    float(outputName, [graph.output.rows, graph.output.width]),
    ...graph.kvLayers.flatMap(({ numKvHeads, headSize }, layer) =>
      [keyOutput(layer), valueOutput(layer)].map((name) => float(name, ["tokens", numKvHeads * headSize]))
    ),
  ];
}

function float(name: string, shape: readonly (number | string)[]): OnnxValueInfo {
  return { name, dtype: "float", shape };
}

/** onnxruntime's own operators, beside ONNX's. */
const MICROSOFT_OPS: ReadonlySet<string> = new Set(["BiasGelu", "FastGelu", "FusedMatMul", "Gelu"]);

/** What an op's lowering writes to. Values and constants are named by strings, as in ONNX. */
export class OnnxContext {
  readonly nodes: OnnxNode[] = [];
  readonly initializers: OnnxInitializer[] = [];
  readonly weights: { path: string; ref: WeightRef }[] = [];
  readonly #valueNames = new Map<number, string>();
  readonly #shared = new Map<string, string>();
  #nextName = 0;

  /** Adds a node with one output and returns that output's name. */
  emit(type: string, inputs: readonly string[], attributes: Record<string, OnnxAttribute> = {}): string {
    const output = `t${this.#nextName++}`;
    this.#push(type, inputs, [output], attributes);
    return output;
  }

  /** Splits along `axis` into parts of the sizes that `sizes` (an int64 tensor) holds; `names` may name the parts. */
  split(
    input: string,
    sizes: string,
    axis: number,
    count: number,
    names: readonly (string | undefined)[] = [],
  ): string[] {
    const outputs = Array.from({ length: count }, (_, i) => names[i] ?? `t${this.#nextName++}`);
    this.#push("Split", [input, sizes], outputs, { axis: BigInt(axis) });
    return outputs;
  }

  /** The weight's own layout and row order, f32; a weight that several ops name is stored once. */
  weight(ref: WeightRef): string {
    const known = this.weights.find((weight) =>
      weight.ref.name === ref.name && weight.ref.rowOrder === ref.rowOrder
    );
    if (known) return known.path;
    const path = `w${this.weights.length}`;
    const bytes = ref.shape.reduce((a, b) => a * b, 4);
    this.weights.push({ path, ref });
    this.initializers.push({ name: path, dtype: "float", shape: ref.shape, data: { path, bytes } });
    return path;
  }

  /** A constant int64 vector. */
  int64(values: readonly number[]): string {
    return this.shared(`int64 ${values}`, () => {
      const name = `c${this.#nextName++}`;
      const data = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
      this.initializers.push({ name, dtype: "int64", shape: [values.length], data });
      return name;
    });
  }

  /** A constant f32. */
  float(value: number): string {
    return this.shared(`float ${value}`, () => {
      const name = `c${this.#nextName++}`;
      const data = new Uint8Array(Float32Array.of(value).buffer);
      this.initializers.push({ name, dtype: "float", shape: [1], data });
      return name;
    });
  }

  /** What `make` emits, emitted once per key: for values that every layer needs alike. */
  shared(key: string, make: () => string): string {
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const name = make();
    this.#shared.set(key, name);
    return name;
  }

  nameOf(value: Value): string {
    const name = this.#valueNames.get(value.id);
    if (name === undefined) {
      throw new RangeError(`Cannot lower graph: value ${value.id} is read before it is made`);
    }
    return name;
  }

  define(value: Value, name: string): void {
    this.#valueNames.set(value.id, name);
  }

  #push(
    type: string,
    inputs: readonly string[],
    outputs: readonly string[],
    attributes: Record<string, OnnxAttribute>,
  ): void {
    const domain = MICROSOFT_OPS.has(type) ? "com.microsoft" : "";
    this.nodes.push({ type, inputs, outputs, attributes, domain });
  }
}
