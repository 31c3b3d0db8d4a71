// The server as the language server sees it: infills, warm-ups and events over HTTP. Knows the dialects' fields and
// errors, and nothing of editors.
import { z } from "zod";
import type { ContextChunk } from "./context_chunk.ts";
import type { Window } from "./cursor.ts";
import { ServerProblem } from "./server_problem.ts";
import type { Scope } from "./trigger.ts";

/** The network's, or an application's own. */
export type Fetch = (request: Request) => Promise<Response>;

export interface ClientOptions {
  readonly fetch: Fetch;
  /** Where the server is, as "http://127.0.0.1:8012". */
  readonly baseUrl: string;
  readonly apiKey?: string | undefined;
  /** Names this editor: its newer request ends its older ones. */
  readonly session: string;
}

export interface InfillQuery {
  readonly window: Window;
  readonly chunks: readonly ContextChunk[];
  /** The file's own, as the chunks have theirs; undefined for what is no file. */
  readonly filename: string | undefined;
  readonly scope: Scope;
  /** 0 only has the server read the prompt. */
  readonly maxTokens: number;
  readonly maxPredictMs: number;
  /** Completions drawn at random; absent: one, the likeliest. */
  readonly draws?: number;
  readonly priority?: "speculative" | "warm-up";
}

export interface InfillAnswer {
  /** The request's name, which events repeat. */
  readonly id: string;
  readonly texts: readonly string[];
  readonly promptTokens: number;
  /** Those of them that the server had computed before. */
  readonly cachedTokens: number;
}

export interface ShownEvent {
  readonly type: "view" | "select" | "dismiss";
  readonly completionId: string;
  /** How much was taken. */
  readonly selected?: "all" | "line" | "word";
  /** Since it was shown, milliseconds. */
  readonly elapsedMs?: number;
}

const infillReply = z.object({
  content: z.string(),
  superseded: z.boolean().optional(),
  "timings/cache_n": z.number().default(0),
  "timings/prompt_n": z.number().default(0),
});
const infillReplies = z.union([infillReply.transform((reply) => [reply]), z.array(infillReply)]);
const modelList = z.object({ data: z.array(z.object({ id: z.string() })).min(1) });
const errorBody = z.object({ error: z.object({ message: z.string() }) });

const REPLY_FIELDS = ["content", "superseded", "timings/cache_n", "timings/prompt_n"];
/** Of draws: as varied as one wants to choose from. */
const DRAW_TEMPERATURE = 0.8;

export class CompletionClient {
  readonly #options: ClientOptions;
  /** The server knows no such route, as llama.cpp's does not. */
  #takesNoEvents = false;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /**
   * @throws {ServerProblem} the server refuses or cannot be reached
   * @throws {DOMException} AbortError, when the signal says so
   */
  async infill(query: InfillQuery, signal: AbortSignal): Promise<InfillAnswer> {
    const id = `cmpl-${crypto.randomUUID()}`;
    const response = await this.#post("/infill", infillBody(query, this.#options.session), signal, {
      "X-Request-Id": id,
    });
    const replies = await readReply(response, infillReplies, signal);
    const [{ "timings/cache_n": cachedTokens, "timings/prompt_n": computed }] = replies;
    // What was superseded is a beginning only; whoever wanted it has asked again.
    const texts = replies.filter(({ superseded }) => !superseded).map(({ content }) => content);
    return { id, texts, cachedTokens, promptTokens: cachedTokens + computed };
  }

  /** The served model's name. @throws {ServerProblem} as `infill` */
  async modelId(signal: AbortSignal): Promise<string> {
    const response = await this.#send("GET", "/v1/models", undefined, signal);
    return (await readReply(response, modelList, signal)).data[0].id;
  }

  /** What became of a completion, in Tabby's form. A server that takes no events is told of none after the first. */
  async tell({ type, completionId, selected, elapsedMs }: ShownEvent, signal: AbortSignal): Promise<void> {
    if (this.#takesNoEvents) return;
    // Tabby's word for any part of a completion.
    const query = selected && selected !== "all" ? "?select_kind=line" : "";
    const event = { type, completion_id: completionId, choice_index: 0, view_id: completionId };
    const body = elapsedMs === undefined ? event : { ...event, elapsed: Math.round(elapsedMs) };
    try {
      const response = await this.#post(`/v1/events${query}`, body, signal);
      await response.body?.cancel();
    } catch (error) {
      if (!(error instanceof ServerProblem)) throw error;
      this.#takesNoEvents = error.kind === "refused";
    }
  }

  #post(path: string, body: object, signal: AbortSignal, headers: Record<string, string> = {}) {
    return this.#send("POST", path, JSON.stringify(body), signal, {
      "Content-Type": "application/json",
      ...headers,
    });
  }

  async #send(
    method: string,
    path: string,
    body: string | undefined,
    signal: AbortSignal,
    headers: Record<string, string> = {},
  ): Promise<Response> {
    const { fetch, baseUrl, apiKey } = this.#options;
    const request = new Request(baseUrl.replace(/\/+$/, "") + path, {
      method,
      signal,
      headers: { ...headers, ...(apiKey && { Authorization: `Bearer ${apiKey}` }) },
      ...(body !== undefined && { body }),
    });
    let response: Response;
    try {
      response = await fetch(request);
    } catch (cause) {
      signal.throwIfAborted();
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new ServerProblem("unreachable", `No server answers at ${baseUrl}: ${reason}`, { cause });
    }
    if (response.ok) return response;
    throw await refusal(response);
  }
}

/** Rules of the server's end and trim the text; llama.cpp's server leaves them out. */
function infillBody(query: InfillQuery, session: string): object {
  const { window, chunks, filename, scope, maxTokens, maxPredictMs, draws, priority } = query;
  const sampling = draws === undefined
    ? { temperature: 0 }
    : { n_cmpl: draws, temperature: DRAW_TEMPERATURE, top_p: 0.95 };
  return {
    input_prefix: window.prefix,
    input_suffix: window.suffix,
    input_extra: chunks.map(({ filename, text }) => ({ filename, text })),
    // Ours: llama.cpp's server leaves it out, and so does a model that was not trained with names.
    ...(filename !== undefined && { filename }),
    n_predict: maxTokens,
    t_max_predict_ms: maxPredictMs,
    ...sampling,
    clean: true,
    scope,
    cache_prompt: true,
    session_id: draws === undefined ? session : `${session}-draws`,
    ...(priority && { priority }),
    response_fields: REPLY_FIELDS,
  };
}

/** @throws {ServerProblem} it is not what such a server says: another program has the port */
async function readReply<T extends z.ZodType>(
  response: Response,
  shape: T,
  signal: AbortSignal,
): Promise<z.output<T>> {
  try {
    return shape.parse(await response.json());
  } catch (cause) {
    signal.throwIfAborted();
    const { origin } = new URL(response.url || "http://localhost");
    throw new ServerProblem("refused", `What answers at ${origin} is no completion server`, { cause });
  }
}

async function refusal(response: Response): Promise<ServerProblem> {
  const body = await response.text();
  const said = errorBody.safeParse(parseOrUndefined(body));
  const message = said.success ? said.data.error.message : `The server said ${response.status}`;
  return new ServerProblem(response.status === 503 ? "loading" : "refused", message);
}

function parseOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
