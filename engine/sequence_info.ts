// What a sequence in flight holds, for those who look in from outside: plain data, and no prompt text unless it is
// asked for.
import type { Generation, Stage } from "./generation.ts";
import type { Priority } from "./priority.ts";
import type { Sequence } from "./sequence.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface SequenceInfo {
  /** The request's, where it has one. */
  readonly requestId?: string;
  /** Order of arrival over all sequences: a number that none other in flight has. */
  readonly arrival: number;
  /** Which of the request's samples this is. */
  readonly sample: number;
  /** queue: holds no blocks, because it is new or was preempted. prefill: reads its prompt. decode: draws tokens. */
  readonly stage: Stage;
  readonly priority: Priority;
  /** Milliseconds since the request was submitted. */
  readonly ageMs: number;
  /** As replies count it: with the tokens that a healed prompt was backed up by, which it draws again. */
  readonly promptTokens: number;
  /** Tokens whose K and V lie in its blocks. */
  readonly computedTokens: number;
  /** Of the completion, as replies count them. */
  readonly generatedTokens: number;
  /** Whether the completion's text so far has a line break; what may yet turn out a stop string's is not counted. */
  readonly hasNewLine: boolean;
  /** Most that there may be of them. */
  readonly maxTokens: number;
  /** Blocks of the KV cache that it holds, shared ones included. */
  readonly blocks: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  /** The prompt, in the layout that the model sees; only when it was asked for. */
  readonly prompt?: string;
}

/** `tokenizer` is given when the prompt's text is wanted. */
export function describeSequence(
  sequence: Sequence,
  generation: Generation,
  options: { readonly now: number; readonly tokenizer?: Tokenizer },
): SequenceInfo {
  const { requestId } = generation.request;
  const { temperature, topK, topP, minP } = sequence.params;
  return {
    ...(requestId !== undefined && { requestId }),
    arrival: sequence.arrival,
    sample: generation.sampleOf(sequence),
    stage: stageOf(sequence),
    priority: generation.request.priority ?? "live",
    ageMs: options.now - generation.submittedAt,
    promptTokens: generation.promptIds.length,
    computedTokens: sequence.numComputed,
    generatedTokens: generation.numTokensOf(sequence),
    hasNewLine: generation.hasNewLineOf(sequence),
    maxTokens: Math.min(generation.request.maxTokens ?? Infinity, sequence.maxTokens),
    blocks: sequence.blockTable.length,
    temperature,
    topK,
    topP,
    minP,
    ...(options.tokenizer && { prompt: options.tokenizer.decode(generation.promptIds) }),
  };
}

function stageOf(sequence: Sequence): Stage {
  if (sequence.state === "waiting") return "queue";
  return sequence.numComputed < sequence.promptLength ? "prefill" : "decode";
}
