// A generation request and what comes back of it, in the engine's own words: no JSON, no HTTP, and nothing that a
// structured clone cannot carry between threads.
import type { Deadlines } from "./deadlines.ts";
import type { Grammar } from "./grammar.ts";
import type { OutputRules } from "./output_rules.ts";
import type { OutputRuleName } from "./output_stage.ts";
import type { Priority } from "./priority.ts";

/** Fill-in-the-middle layouts: prefix-suffix-middle and suffix-prefix-middle (specs: StarCoder, variant 2). */
export type FimLayout = "psm" | "spm";

export type Prompt =
  /**
   * `parseSpecial`: text such as "<fim_prefix>" becomes its control token (clients that build FIM prompts). `before` are
   * tokens that stand before the text; `keep` cuts both together to so many of their last tokens.
   */
  | {
    readonly kind: "text";
    readonly text: string;
    readonly parseSpecial: boolean;
    readonly before?: readonly number[];
    readonly keep?: number;
  }
  | { readonly kind: "tokens"; readonly ids: readonly number[] }
  /**
   * Fill in between prefix and suffix; neither is parsed for special tokens. `lineStart` is text of the current line
   * that belongs at the end of the prefix, tokenised apart with special tokens parsed (llama.cpp's `prompt`).
   * `extra` are other files' chunks, oldest first; `filename` names the file being completed. Cut to the context: the
   * prefix keeps its end, the suffix its start.
   */
  | {
    readonly kind: "infill";
    readonly prefix: string;
    readonly suffix: string;
    readonly lineStart?: string;
    /** Undefined: the server's, or that in which most of the prompt is cached. */
    readonly layout?: FimLayout;
    readonly extra?: readonly { readonly filename?: string; readonly text: string }[];
    readonly filename?: string;
  };

/** Who asks: among whom the engine shares itself out, and whose newer request makes an older one pointless. */
export interface Requester {
  /** Name of the API key it came with. */
  readonly key?: string;
  /** Names one editor among those of the key. A newer request of a session supersedes its older ones (`sessions.ts`). */
  readonly session?: string;
  /** What is known of a client that names no session, as one string. */
  readonly client?: string;
}

export interface GenerationRequest {
  readonly prompt: Prompt;
  /** Most new tokens per sample; 0 prefills (and scores the prompt, when `echoPrompt` and `logprobs` are set) only. Undefined: as many as fit; more than fit ends with "length" where the context does. */
  readonly maxTokens?: number;
  /** Samples drawn for the prompt, at least 1. */
  readonly n?: number;
  /** 0 takes the likeliest token; undefined: 1, as OpenAI has it. */
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  /** Added to the logits of single token ids. */
  readonly logitBias?: readonly { readonly id: number; readonly delta: number }[];
  /** Sample k draws with seed + k. Undefined: a random seed. */
  readonly seed?: number;
  /** Generation ends before the first of these strings to be complete; it is never delivered. None may be empty. */
  readonly stop?: readonly string[];
  /** What is made of the text on its way out. A rule that is not set is as the server has it. */
  readonly outputRules?: OutputRules;
  /**
   * Back the prompt up where it ends within a longer token (`token_healing.ts`). Undefined: as the server, or else the
   * model has it. Never done to token ids, where nothing is drawn, beside a grammar, nor where log-probabilities are asked for.
   */
  readonly tokenHealing?: boolean;
  /** The completion follows it from its first character to its last; no prompt is healed then. */
  readonly grammar?: Grammar;
  /** Go on past end-of-text and separator tokens. */
  readonly ignoreEos?: boolean;
  /** Report each token's log-probability and this many alternatives; undefined = none. */
  readonly logprobs?: number;
  /** Tell of each sample how likely it is (`meanLogprob`), for who will choose among them. */
  readonly rankSamples?: boolean;
  /** False: take nothing from the prefix cache nor from earlier completions, and leave nothing in either. */
  readonly cachePrompt?: boolean;
  /** Cached tokens are shared only among requests that have the same salt, or none; for callers who may not know of each other. */
  readonly cacheSalt?: string;
  /** Report the prompt's own tokens (echo), with log-probabilities where `logprobs` is set. */
  readonly echoPrompt?: boolean;
  /** Report the prompt's text as the model sees it. */
  readonly promptText?: boolean;
  /** Names the request to those who look in from outside; the engine makes nothing else of it. */
  readonly requestId?: string;
  readonly deadlines?: Deadlines;
  /** False: a token a step. Undefined: as the server has it. The tokens are the same. */
  readonly speculation?: boolean;
  /** Default: live. */
  readonly priority?: Priority;
  /** Undefined: it supersedes nothing, and nothing supersedes it. */
  readonly requester?: Requester;
}

export interface TokenLogprob {
  readonly id: number;
  /** The token's text; a partial character shows as U+FFFD. */
  readonly text: string;
  /** Null for the first prompt token, which nothing predicts. */
  readonly logprob: number | null;
  readonly top: readonly { readonly id: number; readonly text: string; readonly logprob: number }[];
}

/**
 * eos: an end or separator token. stop: a stop string. rule: an output rule. length: maxTokens, the context or the time
 * is used up. superseded: a newer request of the same session took its place; what there was by then was delivered.
 */
export type FinishReason = "eos" | "stop" | "rule" | "length" | "superseded";

export interface GenerationTimings {
  /** Milliseconds from submission to the first scheduled step, and of waiting for a grammar with the prompt read. */
  readonly queueMs: number;
  /** Milliseconds from the first scheduled step to the first new token (or the end of a prefill-only request), else. */
  readonly promptMs: number;
  /** Milliseconds from the first new token to the last. */
  readonly predictedMs: number;
}

/** Tokens that went through the model as guesses, and those of them that were right and delivered. */
export interface DraftCounts {
  readonly drafted: number;
  readonly accepted: number;
}

/** Events of one request, in order: one `prompt`, then tokens and one `finish` per sample, interleaved. */
export type GenerationEvent =
  | {
    readonly kind: "prompt";
    /** All of its tokens, what was healed included. */
    readonly tokenIds: readonly number[];
    /** Layout used, for infill. */
    readonly layout?: FimLayout;
    /** True when an infill prompt was cut to the context, or a text to what it was to keep. */
    readonly truncated: boolean;
    /** Bytes of the text before the cursor that the model did not read but drew again, as parts of longer tokens. */
    readonly healed?: number;
    /** With `echoPrompt` or `promptText`: the prompt's text, and with the first its tokens when `logprobs` was set too. */
    readonly text?: string;
    readonly tokens?: readonly TokenLogprob[];
  }
  | {
    readonly kind: "token";
    readonly sample: number;
    readonly id: number;
    /**
     * Text that is now certain; empty while a character or a possible stop string is incomplete, and while an output
     * rule may yet cut it.
     */
    readonly text: string;
    readonly logprob?: TokenLogprob;
  }
  | {
    readonly kind: "finish";
    readonly sample: number;
    readonly reason: FinishReason;
    /** The stop string met, for reason "stop". */
    readonly stopString?: string;
    /** Held-back text that turned out to be no stop string, and nothing that an output rule cuts. */
    readonly text: string;
    /** Output rules that changed the text; absent when none did. */
    readonly rules?: readonly OutputRuleName[];
    /** Token events of this sample: an end token is neither delivered nor counted, nor is one that only healed. */
    readonly completionTokens: number;
    /**
     * With `rankSamples`: mean log-probability of the tokens drawn, those that only healed included, for without them no
     * two samples stand for the same text; the end token is none of them. Absent where nothing was drawn.
     */
    readonly meanLogprob?: number;
    /** Tokens of the prompt that the cache had, so that they did not go through the model for this request. */
    readonly cachedTokens: number;
    /** Absent when nothing was drafted. */
    readonly drafts?: DraftCounts;
    /** The text is what an earlier completion had left, and the model was not asked. */
    readonly cachedCompletion?: true;
    readonly timings: GenerationTimings;
  };
