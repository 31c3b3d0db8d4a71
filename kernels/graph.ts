// The vocabulary in which a network is written once: a list of ops over values. Knows no device. Three lowerings
// (gpu_plan.ts for WebGPU, cpu_plan.ts for WebAssembly, onnx.ts for onnxruntime) and the float64 reference (reference.ts)
// execute the same graph; graph_builder.ts makes it.
import { type Columns, valuesOf } from "./columns.ts";
import type { WeightRef } from "./tensor_source.ts";

/** How many rows a value has in a step: one per new token, or one per token to be sampled. */
export type Rows = "tokens" | "samples";

/** A matrix of activations, f32 [rows, width]. */
export interface Value {
  readonly id: number;
  readonly rows: Rows;
  readonly width: number;
}

/** GELU in its tanh form or exact, by the error function. */
export type Activation = "gelu_tanh" | "gelu_erf";

/** An activation fed from outside, as tests and benchmarks of single ops do. */
export interface InputNode {
  readonly op: "input";
  readonly name: string;
  readonly output: Value;
}

/** What input nodes are fed with in a step, by name: f32 [rows, width]. */
export type GraphInputs = Readonly<Record<string, Float32Array>>;

/** output[r] = table[tokenIds[r]] + positionTable[positions[r]]. */
export interface EmbeddingNode {
  readonly op: "embedding";
  readonly table: WeightRef;
  readonly positionTable?: WeightRef;
  readonly output: Value;
}

/**
 * output = (x - mean) / sqrt(var + epsilon) * scale + bias over the width, biased variance. Without bias it is RMSNorm: the
 * mean counts as zero (Zhang, Sennrich 2019).
 */
export interface LayerNormNode {
  readonly op: "layerNorm";
  readonly input: Value;
  readonly scale: WeightRef;
  readonly bias?: WeightRef;
  readonly epsilon: number;
  readonly output: Value;
}

/** output = activation(x · weightᵀ + bias) + residual; weight [out, in]. */
export interface LinearNode {
  readonly op: "linear";
  readonly input: Value;
  readonly weight: WeightRef;
  readonly bias?: WeightRef;
  readonly activation?: Activation;
  readonly residual?: Value;
  readonly output: Value;
}

/** output = input * SiLU(gate), column by column. */
export interface GatedNode {
  readonly op: "gated";
  readonly input: Columns;
  readonly gate: Columns;
  readonly output: Value;
}

/**
 * output = input with pairs of columns turned by position: of each of the first numHeads heads, columns j and
 * j + dims / 2 for every j below dims / 2, by the angle of which `turns` [positions, dims] has cosine and sine side by
 * side. All other columns stay (Su et al., "RoFormer", section 3.4, with the pairs apart as GPT-NeoX has them).
 */
export interface RotaryNode {
  readonly op: "rotary";
  readonly input: Value;
  readonly turns: WeightRef;
  readonly numHeads: number;
  readonly headSize: number;
  readonly output: Value;
}

/**
 * Causal attention over the paged cache. The input row is [q of all heads | k of all KV heads | v of all KV heads];
 * k and v are stored at the row's slot before any row attends, so a row sees every earlier key of its sequence.
 * Query head h reads KV head floor(h / (numHeads / numKvHeads)). With a window a row sees that many keys at most, its own
 * included (Child et al. 2019; Beltagy et al., "Longformer", section 3.1): position p sees those after p - window.
 */
export interface AttentionNode {
  readonly op: "attention";
  readonly input: Value;
  readonly layer: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headSize: number;
  readonly scale: number;
  readonly window?: number;
  readonly output: Value;
}

/**
 * y = after * (filter conv (before * x) + carried) along time, per channel and causal, over a sequence's rows of this step
 * alone: what its earlier rows contribute is the caller's to carry. The filter [width, taps] is by lag; what the input
 * itself is added with belongs to its lag 0. All columns are as wide as the input.
 */
export interface LongConvolutionNode {
  readonly op: "longConvolution";
  readonly input: Columns;
  readonly before?: Columns;
  readonly after?: Columns;
  readonly carried?: Columns;
  readonly filter: WeightRef;
  readonly output: Value;
}

/**
 * y[t] = gate[t] * (sum over i of filter[i] x[t - i] + bias), per channel; filter [taps, width] by lag. Inputs before a
 * sequence's first row are zero; those of earlier steps come from its state, which keeps the last taps - 1.
 */
export interface ShortConvolutionNode {
  readonly op: "shortConvolution";
  readonly input: Columns;
  readonly filter: WeightRef;
  readonly bias?: WeightRef;
  readonly gate?: Columns;
  /** Index of the state in the graph. */
  readonly state: number;
  readonly output: Value;
}

/**
 * A diagonal state-space model in modal form, per channel: s[n] <- poles[n] s[n] + x[t], then
 * y[t] = gate[t] * (Re sum over n of residues[n] s[n] + skip x[t]). Poles and residues [width, 2 * modes] are complex, as
 * pairs of real and imaginary part. The state begins at zero and is kept from step to step.
 */
export interface DiagonalSsmNode {
  readonly op: "diagonalSsm";
  readonly input: Columns;
  readonly poles: WeightRef;
  readonly residues: WeightRef;
  /** [width] */
  readonly skip?: WeightRef;
  readonly gate?: Columns;
  readonly modes: number;
  /** Index of the state in the graph. */
  readonly state: number;
  readonly output: Value;
}

/**
 * What earlier steps contribute to a long convolution: output[t] = sum over j of filter[t - j] (before * x)[j], per
 * channel, over the positions j before the first row that the sequence has in this step. The filter [width, taps] is by
 * lag, as the convolution has it. What goes in is kept in the paged cache, in a row's slot as its keys are.
 */
export interface ConvolutionHistoryNode {
  readonly op: "convolutionHistory";
  readonly input: Columns;
  readonly before?: Columns;
  readonly filter: WeightRef;
  /** Index of the history in the graph. */
  readonly history: number;
  readonly output: Value;
}

/** Keeps the rows whose next token is wanted: "tokens" rows in, "samples" rows out. */
export interface GatherRowsNode {
  readonly op: "gatherRows";
  readonly input: Value;
  readonly output: Value;
}

export type Node =
  | InputNode
  | EmbeddingNode
  | LayerNormNode
  | LinearNode
  | GatedNode
  | RotaryNode
  | AttentionNode
  | LongConvolutionNode
  | ConvolutionHistoryNode
  | ShortConvolutionNode
  | DiagonalSsmNode
  | GatherRowsNode;

/** The K/V rows that one attention layer keeps per token. */
export interface KvLayer {
  readonly numKvHeads: number;
  readonly headSize: number;
}

/** The row of inputs that one long convolution keeps per token, in the same blocks as keys and values. */
export interface HistoryLayer {
  readonly width: number;
}

/** What one recurrent layer keeps of a sequence, whatever its length: f32 [floats]. */
export interface StateLayer {
  readonly floats: number;
}

/** A network: nodes in execution order. `output` holds the logits when the graph is a language model. */
export interface Graph {
  readonly nodes: readonly Node[];
  readonly kvLayers: readonly KvLayer[];
  readonly historyLayers: readonly HistoryLayer[];
  readonly stateLayers: readonly StateLayer[];
  readonly output: Value;
}

/** The values a node reads. */
export function inputsOf(node: Node): Value[] {
  switch (node.op) {
    case "input":
    case "embedding":
      return [];
    case "linear":
      return node.residual ? [node.input, node.residual] : [node.input];
    case "gated":
      return valuesOf(node.input, node.gate);
    case "longConvolution":
      return valuesOf(node.input, node.before, node.after, node.carried);
    case "convolutionHistory":
      return valuesOf(node.input, node.before);
    case "shortConvolution":
    case "diagonalSsm":
      return valuesOf(node.input, node.gate);
    default:
      return [node.input];
  }
}
