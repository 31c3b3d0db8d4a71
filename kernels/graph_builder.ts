// Builds a network's graph op by op: gives values their shapes, layers their numbers, and refuses shapes that do not fit.
import { allOf, type Columns, sameWidth } from "./columns.ts";
import type { Activation, Graph, HistoryLayer, KvLayer, Node, Rows, StateLayer, Value } from "./graph.ts";
import { requireShape, type WeightRef } from "./tensor_source.ts";

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
