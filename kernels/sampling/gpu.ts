// Choosing tokens on the GPU: adjustments, then greedy choices and draws, then scores where asked for. Each sample has a
// workgroup of its own, so a token depends on its own row, seed and counter alone.
import { controlConstants, NO_MASK, NO_TARGET, type StepShape } from "../control.ts";
import { type Binding, type GpuContext, type KernelCall, rowStride } from "../gpu_op.ts";
import type { Value } from "../graph.ts";
import { MAX_TOP_LOGPROBS, type SampleRequest } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import { bytesOfValues, movingWork } from "../work.ts";
import adjustCode from "./adjust.wgsl" with { type: "text" };
import candidatesCode from "./candidates.wgsl" with { type: "text" };
import drawCode from "./draw.wgsl" with { type: "text" };
import greedyCode from "./greedy.wgsl" with { type: "text" };
import logitKeysCode from "./logit_keys.wgsl" with { type: "text" };
import philoxCode from "./philox.wgsl" with { type: "text" };
import { SCORE_WORDS } from "./scores.ts";
import scoresCode from "./scores.wgsl" with { type: "text" };
import { maskOf, maskWords } from "./token_mask.ts";

export interface SamplingBuffers {
  /** Logits [samples, rowStride(vocabSize)]; adjustments change them in place. */
  readonly logits: Value;
  readonly vocabSize: number;
  /** Ids that are never chosen, unless as a target. */
  readonly suppressed: readonly number[];
  /** u32 [samples] */
  readonly tokens: GPUBuffer;
  /** u32 [samples, SCORE_WORDS], written where a sample asks for scores. */
  readonly scores: GPUBuffer;
  /** u32 [MAX_MASKS, maskWords(vocabSize)]: what the samples that have a mask may choose from, in their order. */
  readonly masks: GPUBuffer;
}

/** Calls that turn the step's logits into tokens, and scores where wanted. */
export function lowerSampling(buffers: SamplingBuffers, context: GpuContext): KernelCall[] {
  const { vocabSize, suppressed } = buffers;
  const constants = {
    ...controlConstants(context.layout),
    VOCAB: vocabSize,
    ROW_STRIDE: rowStride(vocabSize),
    NO_TARGET,
    NO_MASK,
    MASK_WORDS: maskWords(vocabSize),
    SCORE_WORDS,
    MAX_TOP: MAX_TOP_LOGPROBS,
  };
  const control: Binding = { buffer: context.control, access: "read" };
  const logits: Binding = { buffer: context.activation(buffers.logits), access: "read" };
  const tokens: Binding = { buffer: buffers.tokens, access: "readWrite" };
  const masks = maskBindings(buffers, context);
  const work = movingWork(bytesOfValues([buffers.logits], context));
  const snippets = {
    logitKeys: logitKeysCode,
    candidates: `${logitKeysCode}\n${candidateSnippet(suppressed.length > 0, vocabSize)}`,
    philox: philoxCode,
  };
  const perSample = (wanted: (shape: StepShape) => boolean): KernelCall["grid"] => (shape) =>
    shape.numSamples > 0 && wanted(shape) ? [shape.numSamples, 1, 1] : undefined;
  return [{
    label: "sampling adjust",
    code: specialise(adjustCode, constants),
    bindings: [control, { ...logits, access: "readWrite" }],
    grid: ({ numAdjustments }) => numAdjustments > 0 ? [Math.ceil(numAdjustments / 64), 1, 1] : undefined,
  }, {
    label: "sampling greedy",
    code: specialise(
      greedyCode,
      { ...constants, THREADS: greedyThreads(context), PER_TURN: CANDIDATES_PER_TURN },
      {
        ...snippets,
        logit: turnOf((id) => `orderOf(logits[sample * ROW_STRIDE + ${id}])`),
        candidate: turnOf((id) => `candidateKey(sample, ${id})`),
      },
    ),
    bindings: [control, logits, tokens, ...masks],
    work,
    grid: perSample(() => true),
  }, {
    label: "sampling draw",
    code: specialise(drawCode, constants, snippets),
    bindings: [control, logits, tokens, ...masks],
    work,
    grid: perSample((shape) => shape.wantsRandom),
  }, {
    label: "sampling scores",
    code: specialise(scoresCode, constants, snippets),
    bindings: [control, logits, { ...tokens, access: "read" }, {
      buffer: buffers.scores,
      access: "readWrite",
    }],
    work,
    grid: perSample((shape) => shape.wantsScores),
  }];
}

/** What a draw may choose from, and what nobody may, where there is anything. */
function maskBindings({ masks, suppressed, vocabSize }: SamplingBuffers, context: GpuContext): Binding[] {
  const ofSamples: Binding = { buffer: masks, access: "read" };
  if (suppressed.length === 0) return [ofSamples];
  const ofAll = context.uniform(maskOf(suppressed, maskQuads(vocabSize) * 128));
  return [ofSamples, { buffer: ofAll, access: "uniform" }];
}

/** As many as the adapter allows: a greedy choice is one workgroup's walk through a long row. */
function greedyThreads({ caps }: GpuContext): number {
  return caps.maxInvocations >= 1024 ? 1024 : 256;
}

const CANDIDATES_PER_TURN = 16;

/** Logits that do not wait for one another, each with what `keyOf(id)` says of it; past the last, the last again. */
function turnOf(keyOf: (id: string) => string): string {
  return `${
    unroll(CANDIDATES_PER_TURN, (i) =>
      `let other${i} = min(first + ${i}u * THREADS, VOCAB - 1u);
let key${i} = ${keyOf(`other${i}`)};`)
  }
${
    unroll(CANDIDATES_PER_TURN, (i) =>
      `if (key${i} > key) {
    key = key${i};
    id = other${i};
}`)
  }`;
}

/** Uploads the step's masks, each at the place that the control buffer names. */
export function writeMasks(queue: GPUQueue, masks: GPUBuffer, samples: readonly SampleRequest[]) {
  let offset = 0;
  for (const { allowed } of samples) {
    if (!allowed) continue;
    queue.writeBuffer(masks, offset, allowed as Uint32Array<ArrayBuffer>);
    offset += allowed.byteLength;
  }
}

/** Groups of four words, as a uniform buffer has them. */
function maskQuads(vocabSize: number): number {
  return Math.ceil(vocabSize / 128);
}

/**
 * candidateKey(sample, id): the key of a logit that may be chosen, else 0. useMaskOf(sample), called before, looks the
 * sample's mask up, once and not for every logit.
 */
function candidateSnippet(suppresses: boolean, vocabSize: number): string {
  const suppressed = suppresses
    ? `@group(0) @binding(4) var<uniform> suppressed: array<vec4<u32>, ${maskQuads(vocabSize)}>;
fn isSuppressed(id: u32) -> bool { return ((suppressed[id / 128u][id / 32u % 4u] >> (id % 32u)) & 1u) == 1u; }`
    : "fn isSuppressed(id: u32) -> bool { return false; }";
  return `${suppressed}
${candidatesCode}`;
}
