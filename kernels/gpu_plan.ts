// Lowers a graph to a list of dispatches for the GPU and replays it every step: weights uploaded, buffers assigned,
// pipelines compiled and bind groups made once. Knows no architecture and no request.
import type { GpuDevice } from "../device/gpu_device.ts";
import { Readback } from "../device/readback.ts";
import { Submissions } from "../device/submissions.ts";
import { type ActiveCall, ActiveCalls } from "./active_calls.ts";
import type { KvType } from "./attention/kv_layout.ts";
import { attentionTileTokens } from "./attention/gpu.ts";
import { leavesWholeMerge } from "./attention/merge.ts";
import { type OnlineShape, type OnlineShapeWanted, OnlineSums } from "./convolution_history/online_sums.ts";
import { transformRoom } from "./convolution_history/transformed.ts";
import { type ControlLayout, controlLayout, packControl, type StepShape } from "./control.ts";
import { rowStride } from "./gpu_op.ts";
import { GpuBuffers } from "./gpu_buffers.ts";
import { weightsOf } from "./graph_weights.ts";
import { GpuWeights, type LoadWeightsOptions } from "./gpu_weights.ts";
import type { Graph, GraphInputs, Node, Value } from "./graph.ts";
import { halfValues, NO_HALF_VALUES } from "./half_values.ts";
import type { WholeType } from "./linear/fixed_point.ts";
import { wholeTypeOf } from "./linear/whole_gemv_form.ts";
import { onMatrixUnits } from "./linear/matrix.ts";
import { bindsMerge } from "./linear/merge_stage.ts";
import { bindsNorm, mostNormalisedWidth } from "./linear/norm_stage.ts";
import { leavesWholeNumbers, packsWholeNumbers } from "./linear/whole_numbers.ts";
import { contextOf, lowerGraph } from "./lower_graph.ts";
import { fusedMerges, NO_MERGES } from "./merge_fusion.ts";
import { fusedNorms, NO_FUSION } from "./norm_fusion.ts";
import { compileCalls, type CompiledCall, encodeCall } from "./pipelines.ts";
import { type PendingResults, ResultReader } from "./result_reader.ts";
import { writeMasks } from "./sampling/gpu.ts";
import {
  BLOCK_SIZE,
  type HostMoves,
  requireStateSlots,
  type StepBatch,
  type StepLimits,
  type StepResult,
} from "./step.ts";
import { emptyCall, profileCalls, type StepProfile, timeCalls } from "./step_profile.ts";
import type { TensorSource } from "./tensor_source.ts";
import { NO_WHOLE_NUMBERS, wholeNumbers } from "./whole_number_fusion.ts";

export interface PlanOptions extends LoadWeightsOptions {
  readonly limits: StepLimits;
  readonly kvType: KvType;
  /**
   * Where long convolutions sum for single tokens what earlier steps add squares ahead of time; not in the safe profile,
   * whose sums depend on nothing but where a chunk begins. Undefined: directly, when it is wanted.
   */
  readonly online?: OnlineShapeWanted;
  /** Choose tokens from the graph's output; without it the plan only computes, as tests and benchmarks of kernels have it. */
  readonly sampling?: { readonly suppressed: readonly number[] };
}

/**
 * Dispatches of a step's first submission where the GPU has nothing else to do; each further one takes twice as many. It
 * begins while the rest is still being encoded, which takes the host a good part of the time that the GPU takes to run it.
 */
const FIRST_SUBMISSION_CALLS = 16;

/** A step that the GPU has been given. */
interface SubmittedStep {
  readonly pending: PendingResults;
  /** Through which the logits come back, where they are asked for. */
  readonly logits?: Readback;
}

export class GpuPlan implements Disposable {
  readonly #gpu: GpuDevice;
  readonly #graph: Graph;
  readonly #layout: ControlLayout;
  readonly #weights: GpuWeights;
  readonly #buffers: GpuBuffers;
  readonly #calls: ActiveCalls;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #results: ResultReader;
  readonly #online: OnlineSums | undefined;
  /** When the step before is submitted. */
  #lastSubmitted: Promise<unknown> = Promise.resolve();
  /** For profiles. */
  #empty: Promise<ActiveCall> | undefined;

  private constructor(
    gpu: GpuDevice,
    graph: Graph,
    layout: ControlLayout,
    weights: GpuWeights,
    buffers: GpuBuffers,
    calls: readonly CompiledCall[],
  ) {
    this.#gpu = gpu;
    this.#graph = graph;
    this.#layout = layout;
    this.#weights = weights;
    this.#buffers = buffers;
    this.#calls = new ActiveCalls(calls);
    this.#words = new Uint32Array(layout.words);
    if (buffers.online) this.#online = new OnlineSums(buffers.online, layout.limits);
    this.#results = new ResultReader(gpu, buffers, layout.limits.maxSamples);
  }

  /**
   * @throws {TypeError} when the checkpoint does not fit the graph
   * @throws {RangeError} when the GPU's memory or binding limits do not allow it
   */
  static async create(
    gpu: GpuDevice,
    graph: Graph,
    source: TensorSource,
    options: PlanOptions,
  ): Promise<GpuPlan> {
    const online = gpu.profile === "fast" ? onlineShape(graph, gpu, options) : undefined;
    const layout = controlLayout(options.limits, tileTokens(graph, gpu), online);
    gpu.device.pushErrorScope("out-of-memory");
    const weights = await GpuWeights.load(gpu, source, weightsOf(graph), options);
    const fusion = gpu.profile === "fast"
      ? fusedNorms(
        graph,
        mostNormalisedWidth(gpu.caps),
        (linear) => bindsNorm(linear, weights.matrix(linear.weight), gpu.caps),
      )
      : NO_FUSION;
    const merges = gpu.profile === "fast"
      ? fusedMerges(graph, (linear) => bindsMerge(linear, weights.matrix(linear.weight), gpu.caps))
      : NO_MERGES;
    const { profile, caps } = gpu, kvCache = () => ({ type: options.kvType });
    /** Whether the dispatch that makes the node's output in steps of one row, if there is one, can leave it so. */
    const leavesWhole = (maker: Node, type: WholeType) => {
      const { op, output } = maker;
      if (op === "linear") return leavesWholeNumbers(weights.matrix(maker.weight), type, caps);
      if (fusion.has(output.id) || merges.has(output.id)) return false;
      return packsWholeNumbers(output.width, type, caps) && (
        op === "layerNorm" ||
        (op === "attention" && leavesWholeMerge(maker, { profile, caps, layout, kvCache }))
      );
    };
    const whole = gpu.profile === "fast"
      ? wholeNumbers(graph, leavesWhole, (reader) => wholeTypeOf(1, weights.matrix(reader.weight), caps))
      : NO_WHOLE_NUMBERS;
    const halves = gpu.profile === "fast"
      ? halfValues(graph, (ref) => weights.matrix(ref), (weight) => onMatrixUnits(weight, gpu.caps))
      : NO_HALF_VALUES;
    const buffers = new GpuBuffers(gpu, graph, layout, options.kvType, fusion, online);
    const calls = lowerGraph(
      graph,
      contextOf(gpu, layout, weights, buffers, fusion, merges, whole, halves),
      buffers,
      options.sampling?.suppressed,
    );
    await buffers.setUps.run();
    weights.forgetFilters();
    const compiled = await compileCalls(gpu, calls);
    const outOfMemory = await gpu.wait(gpu.device.popErrorScope(), 0);
    const plan = new GpuPlan(gpu, graph, layout, weights, buffers, compiled);
    if (!outOfMemory) return plan;
    plan[Symbol.dispose]();
    throw new RangeError(
      `Cannot load model: ${gpu.caps.adapter} is out of memory (${outOfMemory.message}); lower --kv-memory or take a smaller model`,
    );
  }

  /** How many steps may be under way: see `ModelRunner`. */
  get stepsInFlight(): number {
    return this.#results.stepsInFlight;
  }

  /**
   * Runs one step. With `readLogits` the graph's output comes back as `logits`, [rows, width] without padding.
   * @throws {RangeError} when the batch exceeds the plan's limits
   * @throws {DeviceLostError} when the GPU went away
   */
  async step(batch: StepBatch, inputs: GraphInputs = {}): Promise<StepResult> {
    const submitted = this.#lastSubmitted.then(() => this.#submit(batch, inputs)).catch((error) => {
      this.#online?.forgetAll();
      throw error;
    });
    this.#lastSubmitted = submitted.catch(() => {});
    const { pending, ...more } = await submitted;
    using logits = more.logits;
    const results = await this.#results.read(pending, batch.samples);
    this.#buffers.hostBlocks?.check();
    return { ...results, ...(logits && { logits: await this.#readOutput(logits, pending.shape) }) };
  }

  /** Moves first, which may take a while: nothing of a later step may be written before this one is submitted. */
  async #submit(batch: StepBatch, inputs: GraphInputs): Promise<SubmittedStep> {
    if (batch.moves) await this.#buffers.hostBlocks!.move(batch.moves);
    const shape = this.#writeControl(batch);
    writeMasks(this.#gpu.device.queue, this.#buffers.masks, batch.samples);
    this.#writeInputs(inputs);
    const submissions = new Submissions(this.#gpu.device);
    for (const copy of batch.copies ?? []) this.#buffers.blockCopier.encode(submissions.encoder, copy);
    for (const copy of batch.stateCopies ?? []) this.#buffers.stateCopier.encode(submissions.encoder, copy);
    this.#encodeCalls(submissions, shape, this.#results.numUnread > 0 ? Infinity : FIRST_SUBMISSION_CALLS);
    const pending = this.#results.encode(submissions.encoder, shape);
    const logits = batch.readLogits ? this.#encodeOutput(submissions.encoder, shape) : undefined;
    submissions.submit();
    return { pending, ...(logits && { logits }) };
  }

  /**
   * Makes moves without a step, and waits until what is parked is in host memory.
   * @throws as `step`
   */
  async move(moves: HostMoves): Promise<void> {
    await this.#buffers.hostBlocks!.move(moves);
    await this.#buffers.hostBlocks!.landed();
  }

  [Symbol.dispose](): void {
    this.#results[Symbol.dispose]();
    this.#buffers[Symbol.dispose]();
    this.#weights[Symbol.dispose]();
  }

  /**
   * Runs one step with a timestamp before and after every dispatch. Its tokens are not read back.
   * @throws {TypeError} when the adapter has no timestamps
   */
  async profile(batch: StepBatch): Promise<StepProfile> {
    const empty = await (this.#empty ??= emptyCall(this.#gpu, this.#buffers.control));
    const shape = this.#writeControl(batch);
    return await profileCalls(this.#gpu, this.#calls.of(shape), batch, empty);
  }

  /**
   * Runs one step's dispatches `repeats` times over, one after the other. Nanoseconds of one time.
   * @throws {TypeError} when the adapter has no timestamps
   */
  async time(batch: StepBatch, repeats: number): Promise<number> {
    return await timeCalls(this.#gpu, this.#calls.of(this.#writeControl(batch)), repeats);
  }

  #writeControl(batch: StepBatch): StepShape {
    if (this.#graph.stateLayers.length > 0 || this.#online) requireStateSlots(batch);
    const { shape, used } = packControl(this.#layout, batch, this.#words, this.#online?.before(batch));
    for (const { first, count } of used) {
      this.#gpu.device.queue.writeBuffer(this.#buffers.control, 4 * first, this.#words, first, count);
    }
    return shape;
  }

  #encodeCalls(submissions: Submissions, shape: StepShape, first: number): void {
    let left = first, most = first;
    let pass = submissions.encoder.beginComputePass();
    for (const call of this.#calls.of(shape)) {
      if (left-- === 0) {
        pass.end();
        submissions.submit();
        pass = submissions.encoder.beginComputePass();
        left = most *= 2;
      }
      encodeCall(pass, call);
    }
    pass.end();
  }

  #encodeOutput(encoder: GPUCommandEncoder, shape: StepShape): Readback {
    const { output } = this.#graph;
    const bytes = Math.max(1, rowsOf(output, shape)) * rowStride(output.width) * 4;
    const readback = new Readback(this.#gpu, bytes);
    readback.encodeCopy(encoder, this.#buffers.activation(output), bytes);
    return readback;
  }

  async #readOutput(readback: Readback, shape: StepShape): Promise<Float32Array> {
    const { output } = this.#graph;
    const rows = rowsOf(output, shape), stride = rowStride(output.width);
    const padded = new Float32Array(await readback.read(Math.max(1, rows) * stride * 4));
    const values = new Float32Array(rows * output.width);
    for (let r = 0; r < rows; r++) {
      values.set(padded.subarray(r * stride, r * stride + output.width), r * output.width);
    }
    return values;
  }

  #writeInputs(inputs: GraphInputs): void {
    for (const node of this.#graph.nodes) {
      if (node.op !== "input") continue;
      const values = inputs[node.name];
      if (!values) throw new TypeError(`Cannot run step: input "${node.name}" is missing`);
      const { width } = node.output, stride = rowStride(width);
      const padded = new Float32Array(values.length / width * stride);
      for (let r = 0; r * width < values.length; r++) {
        padded.set(values.subarray(r * width, (r + 1) * width), r * stride);
      }
      this.#gpu.device.queue.writeBuffer(this.#buffers.activation(node.output), 0, padded);
    }
  }
}

/** Sums are transformed as far as the adapter can. */
function onlineShape(
  { historyLayers }: Graph,
  { caps }: GpuDevice,
  { online, limits }: PlanOptions,
): OnlineShape | undefined {
  if (!online || historyLayers.length === 0) return undefined;
  const { transformsWorth: worth, ...shape } = online;
  const widest = Math.max(...historyLayers.map(({ width }) => width));
  const room = transformRoom(limits.maxBlocksPerSequence * BLOCK_SIZE, widest, caps);
  return worth === undefined || room === undefined ? shape : { ...shape, transforms: { room, worth } };
}

function rowsOf(value: Value, shape: StepShape): number {
  return value.rows === "tokens" ? shape.numTokens : shape.numSamples;
}

/** Every attention op reads the same list of tiles, so the smallest tile that one of them needs is taken. */
function tileTokens(graph: Graph, { profile, caps }: GpuDevice): number {
  const wanted = graph.nodes.flatMap((node) =>
    node.op === "attention" ? [attentionTileTokens(node, profile, caps)] : []
  );
  return Math.min(BLOCK_SIZE, ...wanted);
}
