// Choosing tokens on the GPU: adjustments, then greedy choices and draws, then scores where asked for. Each sample has a
// workgroup of its own, so a token depends on its own row, seed and counter alone.
import { controlConstants, NO_TARGET, type StepShape } from "../control.ts";
import { type Binding, type GpuContext, type KernelCall, rowStride } from "../gpu_op.ts";
import type { Value } from "../graph.ts";
import { MAX_TOP_LOGPROBS } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import adjustCode from "./adjust.wgsl" with { type: "text" };
import drawCode from "./draw.wgsl" with { type: "text" };
import greedyCode from "./greedy.wgsl" with { type: "text" };
import logitKeysCode from "./logit_keys.wgsl" with { type: "text" };
import philoxCode from "./philox.wgsl" with { type: "text" };
import { SCORE_WORDS } from "./scores.ts";
import scoresCode from "./scores.wgsl" with { type: "text" };

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
}

/** Calls that turn the step's logits into tokens, and scores where wanted. */
export function lowerSampling(buffers: SamplingBuffers, context: GpuContext): KernelCall[] {
  const { vocabSize, suppressed } = buffers;
  const constants = {
    ...controlConstants(context.layout),
    VOCAB: vocabSize,
    ROW_STRIDE: rowStride(vocabSize),
    NO_TARGET,
    SCORE_WORDS,
    MAX_TOP: MAX_TOP_LOGPROBS,
  };
  const control: Binding = { buffer: context.control, access: "read" };
  const logits: Binding = { buffer: context.activation(buffers.logits), access: "read" };
  const tokens: Binding = { buffer: buffers.tokens, access: "readWrite" };
  const mask: Binding[] = suppressed.length > 0
    ? [{ buffer: context.uniform(suppressionMask(suppressed, vocabSize)), access: "uniform" }]
    : [];
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
    code: specialise(greedyCode, {
      ...constants,
      THREADS: greedyThreads(context),
      PER_TURN: CANDIDATES_PER_TURN,
    }, {
      ...snippets,
      candidate: CANDIDATES,
    }),
    bindings: [control, logits, tokens, ...mask],
    grid: perSample(() => true),
  }, {
    label: "sampling draw",
    code: specialise(drawCode, constants, snippets),
    bindings: [control, logits, tokens, ...mask],
    grid: perSample((shape) => shape.wantsRandom),
  }, {
    label: "sampling scores",
    code: specialise(scoresCode, constants, snippets),
    bindings: [control, logits, { ...tokens, access: "read" }, {
      buffer: buffers.scores,
      access: "readWrite",
    }],
    grid: perSample((shape) => shape.wantsScores),
  }];
}

/** As many as the adapter allows: a greedy choice is one workgroup's walk through a long row. */
function greedyThreads({ caps }: GpuContext): number {
  return caps.maxInvocations >= 1024 ? 1024 : 256;
}

const CANDIDATES_PER_TURN = 16;
/** Logits that do not wait for one another; past the last, the last again. */
const CANDIDATES = `${
  unroll(CANDIDATES_PER_TURN, (i) =>
    `let other${i} = min(first + ${i}u * THREADS, VOCAB - 1u);
let key${i} = candidateKey(sample, other${i});`)
}
${
  unroll(CANDIDATES_PER_TURN, (i) =>
    `if (key${i} > key) {
    key = key${i};
    id = other${i};
}`)
}`;

/** One bit per id, in words. */
function suppressionMask(suppressed: readonly number[], vocabSize: number): Uint32Array {
  const words = new Uint32Array(maskQuads(vocabSize) * 4);
  for (const id of suppressed) if (id < vocabSize) words[id >>> 5] |= 1 << (id & 31);
  return words;
}

function maskQuads(vocabSize: number): number {
  return Math.ceil(vocabSize / 128);
}

/** candidateKey(sample, id): the key of a logit that may be chosen, else 0. */
function candidateSnippet(masked: boolean, vocabSize: number): string {
  const key = "keyOf(logits[sample * ROW_STRIDE + id])";
  if (!masked) return `fn candidateKey(sample: u32, id: u32) -> u32 { return ${key}; }`;
  return `@group(0) @binding(3) var<uniform> suppressed: array<vec4<u32>, ${maskQuads(vocabSize)}>;
fn candidateKey(sample: u32, id: u32) -> u32 {
    let word = suppressed[id / 128u][id / 32u % 4u];
    return select(${key}, 0u, ((word >> (id % 32u)) & 1u) == 1u);
}`;
}
