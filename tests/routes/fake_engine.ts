// An engine for tests of the HTTP layer. It computes nothing: it tells the events of a script, and keeps the promises of
// the interface: cancellation at any point, errors from the first `next()`, one prompt event, then tokens, then finishes.
// A character is a token, and its code point is the token's id.
import { delay } from "./delay.ts";
import type { BlockMap } from "../../engine/block_map.ts";
import type { Engine, EngineState, EngineStats, ModelInfo } from "../../engine/engine.ts";
import { EngineUnavailableError } from "../../engine/errors.ts";
import type {
  DraftCounts,
  FimLayout,
  FinishReason,
  GenerationEvent,
  GenerationRequest,
  Prompt,
  TokenLogprob,
} from "../../engine/request.ts";
import type { OutputRuleName } from "../../engine/output_stage.ts";
import type { SequenceInfo } from "../../engine/sequence_info.ts";

export interface Script {
  /** The completion's tokens, of every sample. */
  readonly tokens?: readonly string[];
  /** How a sample ends that does not reach maxTokens. */
  readonly reason?: FinishReason;
  readonly stopString?: string;
  /** Text held back to the end. */
  readonly heldBack?: string;
  readonly rules?: readonly OutputRuleName[];
  readonly cachedCompletion?: true;
  /** Of every sample. */
  readonly drafts?: DraftCounts;
  readonly truncated?: boolean;
  readonly layout?: FimLayout;
  readonly healed?: number;
  /** Tokens of the prompt said to come from the cache. */
  readonly cachedTokens?: number;
  /** Milliseconds before each token. */
  readonly tokenDelayMs?: number;
  /** Waited for before the token of this number. */
  readonly beforeToken?: (index: number) => Promise<void> | void;
  /** Resolves when the request leaves the queue. */
  readonly admitted?: Promise<void>;
  /** Thrown before the token of this number (0: before any event). */
  readonly failure?: { readonly at: number; readonly error: Error };
  readonly logprob?: number;
  /** Of every token of each sample, whose text then ends with the sample's number. */
  readonly sampleLogprobs?: readonly number[];
}

const MODEL: ModelInfo = {
  id: "fake/model-1",
  architecture: "gpt_bigcode",
  fileFormat: "safetensors",
  contextLength: 2048,
  vocabSize: 1000,
  width: 64,
  numParameters: 31_000_000,
  weightBytes: 32_000_000,
  backend: "cpu",
  adapter: "test",
  fim: {
    supported: true,
    missing: [],
    spelling: { prefix: "<fim_prefix>", suffix: "<fim_suffix>", middle: "<fim_middle>" },
  },
  eosTokenId: 0,
};

const NO_STATISTICS: EngineStats = {
  waiting: 0,
  running: 0,
  freeBlocks: 0,
  cachedBlocks: 0,
  totalBlocks: 0,
  totalStateSlots: 0,
  freeStateSlots: 0,
  stateSnapshots: 0,
  parkedBlocks: 0,
  hostBlocks: 0,
  parks: 0,
  unparks: 0,
  steps: 0,
  promptTokens: 0,
  cachedTokens: 0,
  generatedTokens: 0,
  drawnTokens: 0,
  typeThroughHits: 0,
  preemptions: 0,
  cancelled: 0,
  cancelledIn: { queue: 0, prefill: 0, decode: 0 },
  supersededIn: { queue: 0, prefill: 0, decode: 0 },
  batchSize: 0,
  stepSequences: 0,
  computedTokens: 0,
  stepMs: 0,
  longestContext: 0,
  drafts: 0,
  draftedTokens: 0,
  acceptedTokens: 0,
  acceptedByPlace: [],
};

export class FakeEngine implements Engine {
  state: EngineState = { phase: "ready" };
  script: Script | ((request: GenerationRequest) => Script);
  /** Requests in order of submission, and apart from them their ids, which are new every time. */
  readonly requests: Omit<GenerationRequest, "requestId" | "priority" | "requester">[] = [];
  readonly requestIds: (string | undefined)[] = [];
  /** Who asked, and how urgently, by request. */
  readonly standings: Pick<GenerationRequest, "priority" | "requester">[] = [];
  /** Requests that have neither ended nor been cancelled. */
  active = 0;
  cancelled = 0;
  /** Events handed out, of all requests. */
  delivered = 0;
  /** What `stats()`, `sequences()` and `blocks()` tell. */
  statistics: EngineStats = NO_STATISTICS;
  inFlight: readonly SequenceInfo[] = [];
  blockMap: BlockMap = { device: new Uint8Array(), host: new Uint8Array() };

  readonly #id: string;

  constructor(script: FakeEngine["script"] = {}, id = MODEL.id) {
    this.script = script;
    this.#id = id;
  }

  get model(): ModelInfo {
    if (this.state.phase === "loading") throw new EngineUnavailableError("Loading model", "loading", 2);
    return { ...MODEL, id: this.#id };
  }

  async *submit(request: GenerationRequest, signal?: AbortSignal): AsyncGenerator<GenerationEvent> {
    const { requestId, priority, requester, ...rest } = request;
    this.requests.push(rest);
    this.standings.push({ ...(priority && { priority }), ...(requester && { requester }) });
    this.requestIds.push(requestId);
    this.active++;
    let complete = false;
    const script = typeof this.script === "function" ? this.script(request) : this.script;
    try {
      for await (const event of tell(script, request, signal)) {
        this.delivered++;
        yield event;
      }
      complete = true;
    } finally {
      this.active--;
      if (!complete) this.cancelled++;
    }
  }

  tokenize(text: string): Promise<number[]> {
    return Promise.resolve([...text].map((character) => character.codePointAt(0)!));
  }

  detokenize(ids: readonly number[]): Promise<string> {
    return Promise.resolve(String.fromCodePoint(...ids));
  }

  /** A character outside the Basic Multilingual Plane stands for a token that ends within it. */
  tokenBytes(ids: readonly number[]): Promise<Uint8Array[]> {
    const whole = ids.map((id) => new TextEncoder().encode(String.fromCodePoint(id)));
    return Promise.resolve(whole.map((bytes) => bytes.length === 4 ? bytes.subarray(0, 2) : bytes));
  }

  stats(): Promise<EngineStats> {
    return Promise.resolve(this.statistics);
  }

  sequences({ withPrompts = false } = {}): Promise<SequenceInfo[]> {
    return Promise.resolve(
      this.inFlight.map(({ prompt, ...info }) =>
        withPrompts && prompt !== undefined ? { ...info, prompt } : info
      ),
    );
  }

  blocks(): Promise<BlockMap> {
    return Promise.resolve(this.blockMap);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

async function* tell(
  script: Script,
  request: GenerationRequest,
  signal?: AbortSignal,
): AsyncGenerator<GenerationEvent> {
  const { tokens = ["a", "b", "c"], tokenDelayMs = 0, beforeToken, admitted, failure } = script;
  signal?.throwIfAborted();
  if (admitted) await Promise.race([admitted, rejectOnAbort(signal)]);
  if (failure?.at === 0) throw failure.error;
  yield promptEvent(script, request);
  const count = Math.min(tokens.length, request.maxTokens ?? Infinity);
  const samples = request.n ?? 1;
  for (let i = 0; i < count; i++) {
    await delay(tokenDelayMs, signal);
    if (beforeToken) await Promise.race([beforeToken(i), rejectOnAbort(signal)]);
    if (failure?.at === i + 1) throw failure.error;
    for (let sample = 0; sample < samples; sample++) yield tokenEvent(script, request, sample, tokens[i]!);
  }
  const reason = count === request.maxTokens ? "length" : script.reason ?? "eos";
  for (let sample = 0; sample < samples; sample++) yield finishEvent(script, request, sample, reason, count);
}

function promptEvent(script: Script, request: GenerationRequest): GenerationEvent {
  const text = promptText(request.prompt);
  const characters = [...text];
  return {
    kind: "prompt",
    tokenIds: characters.map((character) => character.codePointAt(0)!),
    truncated: script.truncated ?? false,
    ...(script.layout && { layout: script.layout }),
    ...(script.healed && { healed: script.healed }),
    ...((request.echoPrompt || request.promptText) && { text }),
    ...(request.echoPrompt && request.logprobs !== undefined && {
      tokens: characters.map((character, i) =>
        logprobOf(character, i === 0 ? null : -0.5, request.logprobs!)
      ),
    }),
  };
}

function promptText(prompt: Prompt): string {
  switch (prompt.kind) {
    case "text":
      return prompt.text;
    case "tokens":
      return String.fromCodePoint(...prompt.ids);
    case "infill":
      return `${prompt.prefix}${prompt.lineStart ?? ""}${prompt.suffix}`;
  }
}

function tokenEvent(
  script: Script,
  request: GenerationRequest,
  sample: number,
  text: string,
): GenerationEvent {
  const logprob = logprobIn(script, sample);
  if (script.sampleLogprobs) text += sample;
  return {
    kind: "token",
    sample,
    id: text.codePointAt(0) ?? 0,
    text,
    ...(request.logprobs !== undefined && { logprob: logprobOf(text, logprob, request.logprobs) }),
  };
}

/** Of every token of the sample. */
function logprobIn({ sampleLogprobs, logprob = -0.25 }: Script, sample: number): number {
  return sampleLogprobs?.[sample] ?? logprob;
}

/** Alternatives are "A", "B", ...: the drawn token is never among them. */
function logprobOf(text: string, logprob: number | null, count: number): TokenLogprob {
  const top = logprob === null ? [] : Array.from(
    { length: count },
    (_, i) => ({ id: 65 + i, text: String.fromCharCode(65 + i), logprob: -1 - i }),
  );
  return { id: text.codePointAt(0) ?? 0, text, logprob, top };
}

function finishEvent(
  script: Script,
  { rankSamples }: GenerationRequest,
  sample: number,
  reason: FinishReason,
  count: number,
): GenerationEvent {
  return {
    kind: "finish",
    sample,
    reason,
    ...(reason === "stop" && { stopString: script.stopString ?? "" }),
    text: script.heldBack ?? "",
    ...(script.rules && { rules: script.rules }),
    ...(script.cachedCompletion && { cachedCompletion: script.cachedCompletion }),
    ...(script.drafts && { drafts: script.drafts }),
    completionTokens: count,
    ...(rankSamples && count > 0 && { meanLogprob: logprobIn(script, sample) }),
    cachedTokens: script.cachedTokens ?? 0,
    timings: { queueMs: 1, promptMs: 20, predictedMs: 50 },
  };
}

function rejectOnAbort(signal?: AbortSignal): Promise<never> {
  return new Promise((_, reject) =>
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true })
  );
}
