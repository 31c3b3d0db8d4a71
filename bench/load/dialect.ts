// How a completion is asked for and answered in each protocol: OpenAI's /v1/completions (Hyades, vLLM, TGI, llama.cpp)
// and llama.cpp's /infill (Hyades, llama.cpp). Pure: from a job to a body, from an event's JSON to a piece.

export const DIALECTS = ["infill", "openai"] as const;
export type DialectName = typeof DIALECTS[number];

/** Where the suffix goes on /v1/completions: into its field, or into the prompt, in StarCoder's own tokens. */
export const SUFFIX_FORMS = ["field", "tokens"] as const;
export type SuffixForm = typeof SUFFIX_FORMS[number];

/** A hole to fill, as an editor sees it. */
export interface Job {
  /** Whole lines before the cursor's. */
  readonly before: string;
  /** The cursor's line up to the cursor. */
  readonly lineStart: string;
  readonly after: string;
  readonly maxTokens: number;
}

/** What one event of a stream, or a whole reply, adds. */
export interface Piece {
  readonly text: string;
  readonly done: boolean;
  readonly promptTokens?: number;
  readonly cachedTokens?: number;
}

export interface Dialect {
  readonly path: string;
  body(job: Job, stream: boolean): Record<string, unknown>;
  /** @throws {Error} the event tells of an error */
  piece(event: unknown): Piece;
}

export interface DialectOptions {
  readonly dialect: DialectName;
  readonly suffixForm: SuffixForm;
  /** vLLM wants one. */
  readonly model?: string;
  /** Fields for every body, beside or instead of the dialect's own. */
  readonly extra: Readonly<Record<string, unknown>>;
}

export function dialectOf(options: DialectOptions): Dialect {
  return options.dialect === "infill" ? infill(options) : openai(options);
}

/** Editors draw their completions; here all servers take the likeliest token, so that answers can be compared. */
function infill({ extra }: DialectOptions): Dialect {
  return {
    path: "/infill",
    body: ({ before, lineStart, after, maxTokens }, stream) => ({
      input_prefix: before,
      prompt: lineStart,
      input_suffix: after,
      n_predict: maxTokens,
      temperature: 0,
      cache_prompt: true,
      stream,
      ...extra,
    }),
    piece(event) {
      const { content, stop, timings, error } = event as InfillEvent;
      throwIfError(error);
      return {
        text: content ?? "",
        done: stop ?? false,
        ...(timings && counts(timings.prompt_n + (timings.cache_n ?? 0), timings.cache_n)),
      };
    },
  };
}

function openai({ suffixForm, model, extra }: DialectOptions): Dialect {
  return {
    path: "/v1/completions",
    body({ before, lineStart, after, maxTokens }, stream) {
      const prefix = before + lineStart;
      return {
        ...(model !== undefined && { model }),
        ...(suffixForm === "field"
          ? { prompt: prefix, suffix: after }
          : { prompt: `<fim_prefix>${prefix}<fim_suffix>${after}<fim_middle>` }),
        max_tokens: maxTokens,
        temperature: 0,
        stream,
        ...(stream && { stream_options: { include_usage: true } }),
        ...extra,
      };
    },
    piece(event) {
      const { choices, usage, error } = event as OpenAiEvent;
      throwIfError(error);
      return {
        text: choices?.[0]?.text ?? "",
        done: choices?.[0]?.finish_reason != null,
        ...(usage && counts(usage.prompt_tokens, usage.prompt_tokens_details?.cached_tokens)),
      };
    },
  };
}

interface InfillEvent {
  readonly content?: string;
  readonly stop?: boolean;
  /** Older llama.cpp has no `cache_n`. */
  readonly timings?: { readonly prompt_n: number; readonly cache_n?: number };
  readonly error?: unknown;
}

interface OpenAiEvent {
  readonly choices?: readonly { readonly text?: string; readonly finish_reason?: string | null }[];
  readonly usage?: {
    readonly prompt_tokens: number;
    readonly prompt_tokens_details?: { readonly cached_tokens?: number } | null;
  } | null;
  readonly error?: unknown;
}

function counts(promptTokens: number, cachedTokens: number | undefined) {
  return { promptTokens, ...(cachedTokens !== undefined && { cachedTokens }) };
}

function throwIfError(error: unknown) {
  if (error !== undefined) throw new Error(`The stream ended with an error: ${JSON.stringify(error)}`);
}
