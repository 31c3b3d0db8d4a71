// POST /infill as an editor plugin sends it, and its stream as parts. Knows the wire, and nothing of the editor.
import type { Connection } from "./connection.ts";
import type { CursorContext } from "./cursor_context.ts";
import { eventData } from "./event_data.ts";
import { ServerError } from "./server_error.ts";

export interface InfillOptions {
  readonly maxTokens: number;
  readonly priority?: "live" | "speculative";
  /** Further fields of the request. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

export interface TokenProbability {
  readonly token: string;
  readonly logprob: number;
  readonly top_logprobs: readonly { readonly token: string; readonly logprob: number }[];
}

export interface Timings {
  readonly cache_n: number;
  readonly prompt_n: number;
  readonly prompt_ms: number;
  readonly predicted_n: number;
  readonly predicted_ms: number;
  readonly draft_n?: number;
  readonly draft_n_accepted?: number;
}

/** The object that ends a stream. */
export interface InfillEnd {
  readonly stop: true;
  readonly prompt: string;
  readonly tokens_evaluated: number;
  readonly truncated: boolean;
  readonly fim_layout?: "psm" | "spm";
  readonly superseded?: true;
  readonly stop_type: "none" | "eos" | "limit" | "word";
  readonly cleaned?: readonly string[];
  readonly healed?: number;
  readonly cached_completion?: true;
  readonly timings: Timings;
}

export interface InfillPart {
  readonly stop: false;
  readonly content: string;
  readonly completion_probabilities?: readonly TokenProbability[];
}

/**
 * Parts as the text grows, and last the end.
 * @throws {ServerError} the server refuses, or breaks off
 */
export async function* streamInfill(
  connection: Connection,
  context: CursorContext,
  { maxTokens, priority = "live", fields = {} }: InfillOptions,
  signal: AbortSignal,
): AsyncGenerator<InfillPart | InfillEnd> {
  const response = await connection.fetch("/infill", {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "X-Session-Id": connection.session,
      "X-Priority": priority,
    },
    body: JSON.stringify({
      ...splitAtLine(context),
      n_predict: maxTokens,
      temperature: 0,
      clean: true,
      stream: true,
      ...fields,
    }),
    signal,
  });
  for await (const data of eventData(response.body!)) {
    const event = JSON.parse(data) as InfillPart | InfillEnd | { error: { message: string; code: number } };
    if ("error" in event) throw new ServerError(event.error.code, event.error.message);
    yield event;
  }
}

/** llama.cpp has the cursor's line up to the cursor in a field of its own. */
function splitAtLine({ prefix, suffix }: CursorContext) {
  const lineStart = prefix.lastIndexOf("\n") + 1;
  return { input_prefix: prefix.slice(0, lineStart), prompt: prefix.slice(lineStart), input_suffix: suffix };
}
