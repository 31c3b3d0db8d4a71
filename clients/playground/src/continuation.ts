// POST /v1/completions, for models that know no text after the cursor: they go on from what stands before it. Its stream
// becomes the parts that `infill.ts` has. Without the prompt as the model sees it, and without probabilities.
import type { Connection } from "./connection.ts";
import type { CursorContext } from "./cursor_context.ts";
import { eventData } from "./event_data.ts";
import type { InfillEnd, InfillPart, Timings } from "./infill.ts";
import { ServerError } from "./server_error.ts";

interface Chunk {
  readonly choices: readonly {
    readonly text: string;
    readonly finish_reason: "stop" | "length" | null;
    readonly cleaned?: readonly string[];
    readonly healed?: number;
    readonly cached_completion?: true;
    readonly superseded?: true;
  }[];
  readonly timings?: Timings;
}

/** As `streamInfill`. */
export async function* streamContinuation(
  connection: Connection,
  { prefix }: CursorContext,
  maxTokens: number,
  signal: AbortSignal,
): AsyncGenerator<InfillPart | InfillEnd> {
  const response = await connection.fetch("/v1/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Session-Id": connection.session },
    body: JSON.stringify({
      prompt: prefix,
      max_tokens: maxTokens,
      temperature: 0,
      clean: true,
      stream: true,
    }),
    signal,
  });
  for await (const data of eventData(response.body!)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data) as Chunk | { error: { message: string } };
    if ("error" in chunk) throw new ServerError(response.status, chunk.error.message);
    for (const { text, finish_reason, ...facts } of chunk.choices) {
      yield { stop: false, content: text };
      if (chunk.timings) {
        const { cache_n, prompt_n } = chunk.timings;
        yield {
          ...facts,
          ...{ stop: true, prompt: prefix, tokens_evaluated: cache_n + prompt_n, truncated: false },
          stop_type: finish_reason === "stop" ? "eos" : "limit",
          timings: chunk.timings,
        };
      }
    }
  }
}
