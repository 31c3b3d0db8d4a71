// The vocabulary in which a network is written once: a list of ops over values. Knows no device. Two lowerings
// (plan.ts for WebGPU, onnx.ts for the CPU) and the float64 reference (reference.ts) execute the same graph.
import { allOf, type Columns, sameWidth, valuesOf } from "./columns.ts";
import { requireShape, type WeightRef } from "./tensor_source.ts";

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

/** An activation fed from outside: kernel tests now, a neighbouring pipeline stage later. */
export interface InputNode {
  readonly op: "input";
  readonly name: string;
  readonly output: Value;
}

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

export class GraphBuilder {
  #nodes: Node[] = [];
  #kvLayers: KvLayer[] = [];
  #historyLayers: HistoryLayer[] = [];
  #stateLayers: StateLayer[] = [];
  #nextId = 0;

  input(name: string, width: number, rows: Rows = "tokens"): Value {
    return this.#add({ op: "input", name, output: this.#value(rows, width) });
  }

  embedding(table: WeightRef, positionTable?: WeightRef): Value {
    const output = this.#value("tokens", table.shape[1]);
    return this.#add({ op: "embedding", table, ...(positionTable && { positionTable }), output });
  }

  layerNorm(input: Value, scale: WeightRef, bias: WeightRef, epsilon: number): Value {
    return this.#add({
      op: "layerNorm",
      input,
      scale,
      bias,
      epsilon,
      output: this.#value(input.rows, input.width),
    });
  }

  rmsNorm(input: Value, scale: WeightRef, epsilon: number): Value {
    const output = this.#value(input.rows, input.width);
    return this.#add({ op: "layerNorm", input, scale, epsilon, output });
  }

  gated(input: Columns, gate: Columns): Value {
    if (input.width !== gate.width || input.value.rows !== gate.value.rows) {
      throw new RangeError(
        `Cannot build graph: a gate of width ${gate.width} cannot weight width ${input.width}`,
      );
    }
    return this.#add({ op: "gated", input, gate, output: this.#value(input.value.rows, input.width) });
  }

  linear(
    input: Value,
    weight: WeightRef,
    options: { bias?: WeightRef; activation?: Activation; residual?: Value } = {},
  ): Value {
    if (weight.shape[1] !== input.width) {
      throw new RangeError(
        `Cannot build graph: "${weight.name}" must take width ${input.width}, received [${weight.shape}]`,
      );
    }
    return this.#add({
      op: "linear",
      input,
      weight,
      ...options,
      output: this.#value(input.rows, weight.shape[0]),
    });
  }

  rotary(input: Value, turns: WeightRef, shape: { numHeads: number; headSize: number }): Value {
    const { numHeads, headSize } = shape, turned = turns.shape[1];
    if (numHeads * headSize > input.width || turned > headSize || turned % 2 !== 0) {
      throw new RangeError(
        `Cannot build graph: ${turned} columns of ${numHeads} heads of ${headSize} cannot be turned in width ${input.width}`,
      );
    }
    return this.#add({ op: "rotary", input, turns, ...shape, output: this.#value("tokens", input.width) });
  }

  attention(
    input: Value,
    shape: { numHeads: number; numKvHeads: number; headSize: number; scale: number; window?: number },
  ): Value {
    const { numHeads, numKvHeads, headSize, window } = shape;
    if (window !== undefined && !(Number.isInteger(window) && window >= 1)) {
      throw new RangeError(
        `Cannot build graph: a window of attention must be at least 1, received ${window}`,
      );
    }
    if (input.width !== (numHeads + 2 * numKvHeads) * headSize || numHeads % numKvHeads !== 0) {
      throw new RangeError(
        `Cannot build graph: attention of ${numHeads} and ${numKvHeads} heads of ${headSize} cannot read width ${input.width}`,
      );
    }
    const layer = this.#kvLayers.push({ numKvHeads, headSize }) - 1;
    return this.#add({
      op: "attention",
      input,
      layer,
      ...shape,
      output: this.#value("tokens", numHeads * headSize),
    });
  }

  longConvolution(
    input: Value | Columns,
    filter: WeightRef,
    options: { before?: Value | Columns; after?: Value | Columns; carried?: Value | Columns } = {},
  ): Value {
    const columns = allOf(input), { width } = columns;
    requireShape(filter, width, filter.shape[1]);
    return this.#add({
      op: "longConvolution",
      input: columns,
      filter,
      ...(options.before && { before: sameWidth(options.before, width) }),
      ...(options.after && { after: sameWidth(options.after, width) }),
      ...(options.carried && { carried: sameWidth(options.carried, width) }),
      output: this.#value("tokens", width),
    });
  }

  /** What `longConvolution` of the same input, gate and filter takes as `carried`. */
  convolutionHistory(
    input: Value | Columns,
    filter: WeightRef,
    options: { before?: Value | Columns } = {},
  ): Value {
    const columns = allOf(input), { width } = columns;
    requireShape(filter, width, filter.shape[1]);
    return this.#add({
      op: "convolutionHistory",
      input: columns,
      filter,
      ...(options.before && { before: sameWidth(options.before, width) }),
      history: this.#historyLayers.push({ width }) - 1,
      output: this.#value("tokens", width),
    });
  }

  shortConvolution(
    input: Value | Columns,
    filter: WeightRef,
    options: { bias?: WeightRef; gate?: Value | Columns } = {},
  ): Value {
    const columns = allOf(input), { width } = columns;
    requireShape(filter, Math.max(2, filter.shape[0]), width);
    if (options.bias) requireShape(options.bias, width);
    return this.#add({
      op: "shortConvolution",
      input: columns,
      filter,
      ...(options.bias && { bias: options.bias }),
      ...(options.gate && { gate: sameWidth(options.gate, width) }),
      state: this.#stateLayers.push({ floats: (filter.shape[0] - 1) * width }) - 1,
      output: this.#value("tokens", width),
    });
  }

  diagonalSsm(
    input: Value | Columns,
    weights: { poles: WeightRef; residues: WeightRef; skip?: WeightRef },
    options: { gate?: Value | Columns } = {},
  ): Value {
    const columns = allOf(input), { width } = columns;
    const { poles, residues, skip } = weights, modes = poles.shape[1] / 2;
    requireShape(poles, width, 2 * Math.floor(modes));
    requireShape(residues, width, 2 * modes);
    if (skip) requireShape(skip, width);
    return this.#add({
      op: "diagonalSsm",
      input: columns,
      poles,
      residues,
      ...(skip && { skip }),
      ...(options.gate && { gate: sameWidth(options.gate, width) }),
      modes,
      state: this.#stateLayers.push({ floats: 2 * modes * width }) - 1,
      output: this.#value("tokens", width),
    });
  }

  gatherRows(input: Value): Value {
    return this.#add({ op: "gatherRows", input, output: this.#value("samples", input.width) });
  }

  build(output: Value): Graph {
    return {
      nodes: this.#nodes,
      kvLayers: this.#kvLayers,
      historyLayers: this.#historyLayers,
      stateLayers: this.#stateLayers,
      output,
    };
  }

  #value(rows: Rows, width: number): Value {
    return { id: this.#nextId++, rows, width };
  }

  #add(node: Node): Value {
    this.#nodes.push(node);
    return node.output;
  }
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
