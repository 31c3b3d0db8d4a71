// Runs a graph in float64 with plain loops: what every backend is measured against. Slow on purpose; knows no device.
import { attentionReference, type ReferenceKvCache } from "./attention/reference.ts";
import { convolutionHistoryReference, type ReferenceHistory } from "./convolution_history/reference.ts";
import { embeddingReference } from "./embedding/reference.ts";
import { gatedReference } from "./gated/reference.ts";
import { gatherRowsReference } from "./gather_rows/reference.ts";
import { diagonalSsmReference } from "./diagonal_ssm/reference.ts";
import type { Columns } from "./columns.ts";
import type { Graph, Node } from "./graph.ts";
import { weightsOf } from "./graph_weights.ts";
import { layerNormReference } from "./layer_norm/reference.ts";
import { linearReference } from "./linear/reference.ts";
import { longConvolutionReference } from "./long_convolution/reference.ts";
import { copyState, type ReferenceStates } from "./reference_states.ts";
import { rotaryReference } from "./rotary/reference.ts";
import { shortConvolutionReference } from "./short_convolution/reference.ts";
import type { StepBatch } from "./step.ts";
import { loadFloat32, type TensorSource, type WeightRef } from "./tensor_source.ts";

/** Activations for a graph's input nodes by name, [rows, width] tightly packed. */
export type ReferenceInputs = Readonly<Record<string, ArrayLike<number>>>;

export interface ReferenceStep {
  /** Every value of the graph by id, [rows, width] tightly packed. */
  readonly values: ReadonlyMap<number, Float64Array>;
  /** The value of the graph's output. */
  readonly output: Float64Array;
}

/** Executes a sequence of steps, keeping K and V, inputs of convolutions and recurrent states by slot from one to the next as the paged cache does. */
export class ReferenceExecutor {
  readonly #graph: Graph;
  readonly #weights: ReadonlyMap<string, Float32Array>;
  readonly #caches: readonly ReferenceKvCache[];
  readonly #histories: readonly ReferenceHistory[];
  readonly #states: readonly ReferenceStates[];

  private constructor(graph: Graph, weights: ReadonlyMap<string, Float32Array>) {
    this.#graph = graph;
    this.#weights = weights;
    this.#caches = graph.kvLayers.map(() => new Map());
    this.#histories = graph.historyLayers.map(() => new Map());
    this.#states = graph.stateLayers.map(() => new Map());
  }

  /**
   * Reads all weights of the graph, as f32 (which holds f16 and bf16 exactly and int8 times its scale to 2^-24).
   * @throws {TypeError} naming a tensor that the source lacks or has in another shape
   */
  static async create(graph: Graph, source: TensorSource): Promise<ReferenceExecutor> {
    const weights = new Map<string, Float32Array>();
    for (const { ref } of weightsOf(graph)) weights.set(ref.name, await loadFloat32(source, ref));
    return new ReferenceExecutor(graph, weights);
  }

  /**
   * Runs one step.
   * @throws {TypeError} when an input is missing or has the wrong length
   * @throws {RangeError} when the batch makes a row attend to a slot that no step has written
   */
  step(batch: StepBatch, inputs: ReferenceInputs = {}): ReferenceStep {
    for (const { from, to } of batch.stateCopies ?? []) {
      for (const states of this.#states) copyState(states, from, to);
    }
    const values = new Map<number, Float64Array>();
    for (const node of this.#graph.nodes) {
      values.set(node.output.id, this.#run(node, values, batch, inputs));
    }
    return { values, output: values.get(this.#graph.output.id)! };
  }

  #run(node: Node, values: Map<number, Float64Array>, batch: StepBatch, inputs: ReferenceInputs) {
    const weight = (ref: WeightRef) => this.#weights.get(ref.name)!;
    switch (node.op) {
      case "input":
        return readInput(inputs, node.name, rowsIn(batch, node.output.rows) * node.output.width);
      case "embedding": {
        const positionTable = node.positionTable && weight(node.positionTable);
        const { tokenIds, positions } = batch;
        return embeddingReference(tokenIds, positions, weight(node.table), positionTable, node.output.width);
      }
      case "layerNorm":
        return layerNormReference(
          values.get(node.input.id)!,
          weight(node.scale),
          node.bias && weight(node.bias),
          node.epsilon,
        );
      case "linear":
        return linearReference(values.get(node.input.id)!, weight(node.weight), node.input.width, {
          ...(node.bias && { bias: weight(node.bias) }),
          ...(node.activation && { activation: node.activation }),
          ...(node.residual && { residual: values.get(node.residual.id)! }),
        });
      case "gated":
        return gatedReference(readColumns(values, node.input), readColumns(values, node.gate));
      case "rotary":
        return rotaryReference(values.get(node.input.id)!, weight(node.turns), batch.positions, {
          width: node.input.width,
          numHeads: node.numHeads,
          headSize: node.headSize,
          turned: node.turns.shape[1],
        });
      case "attention":
        return attentionReference(values.get(node.input.id)!, node, batch, this.#caches[node.layer]);
      case "longConvolution":
        return longConvolutionReference({
          input: readColumns(values, node.input),
          filter: weight(node.filter),
          ...(node.before && { before: readColumns(values, node.before) }),
          ...(node.after && { after: readColumns(values, node.after) }),
          ...(node.carried && { carried: readColumns(values, node.carried) }),
        }, batch);
      case "convolutionHistory":
        return convolutionHistoryReference(
          {
            input: readColumns(values, node.input),
            filter: weight(node.filter),
            ...(node.before && { before: readColumns(values, node.before) }),
          },
          node.input.width,
          batch,
          this.#histories[node.history],
        );
      case "shortConvolution":
        return shortConvolutionReference(
          {
            input: readColumns(values, node.input),
            filter: weight(node.filter),
            ...(node.bias && { bias: weight(node.bias) }),
            ...(node.gate && { gate: readColumns(values, node.gate) }),
          },
          batch,
          this.#states[node.state],
        );
      case "diagonalSsm":
        return diagonalSsmReference(
          {
            input: readColumns(values, node.input),
            poles: weight(node.poles),
            residues: weight(node.residues),
            ...(node.skip && { skip: weight(node.skip) }),
            ...(node.gate && { gate: readColumns(values, node.gate) }),
          },
          node.input.width,
          batch,
          this.#states[node.state],
        );
      case "gatherRows": {
        const rows = batch.samples.map((sample) => sample.row);
        return gatherRowsReference(values.get(node.input.id)!, rows, node.input.width);
      }
    }
  }
}

function rowsIn(batch: StepBatch, rows: "tokens" | "samples"): number {
  return rows === "tokens" ? batch.tokenIds.length : batch.samples.length;
}

function readColumns(values: Map<number, Float64Array>, { value, first, width }: Columns): Float64Array {
  const all = values.get(value.id)!;
  if (width === value.width) return all;
  const rows = all.length / value.width, columns = new Float64Array(rows * width);
  for (let row = 0; row < rows; row++) {
    const start = row * value.width + first;
    columns.set(all.subarray(start, start + width), row * width);
  }
  return columns;
}

function readInput(inputs: ReferenceInputs, name: string, length: number): Float64Array {
  const input = inputs[name];
  if (input?.length !== length) {
    throw new TypeError(
      `Cannot run step: input "${name}" must have ${length} elements, received ${input?.length}`,
    );
  }
  return Float64Array.from(input);
}
