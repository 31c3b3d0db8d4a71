// Tabby's completion: one reply with one choice, of the primary model, for its clients name none. Its path is OpenAI's, so
// that route hands the bodies over that are Tabby's (`v1_completions.ts`).
import type { Context } from "hono";
import type { ModelChoice } from "../../engine/model_choice.ts";
import { generationEvents, type GenerationJob } from "../generation_reply.ts";
import { namedModel } from "../named_model.ts";
import type { RouteOptions } from "../route_options.ts";
import { snippetsOf, toGeneration } from "./completion_request.ts";
import type { TabbyReply, TabbyRequest } from "./completion_schema.ts";

export async function tabbyCompletion(
  c: Context,
  models: ModelChoice,
  body: TabbyRequest,
  options: RouteOptions,
): Promise<Response> {
  if (body.debug_options.raw_prompt !== undefined) c.set("promptName", "debug_options.raw_prompt");
  const engine = await namedModel(c, models);
  const request = toGeneration(body);
  const { session_id, priority } = body;
  const job: GenerationJob = {
    ...{ c, engine, options, requests: [request] },
    wish: {
      ...{ session_id, priority, maxTokens: request.maxTokens },
      ...{ numPrompts: 1, n: 1, stream: false, scoresPrompt: false, speculative: false },
    },
  };
  let text = "", prompt: string | undefined;
  for await (const { event } of generationEvents(job)) {
    if (event.kind === "prompt") prompt = event.text;
    else text += event.text;
  }
  return c.json(toReply(body, text, prompt));
}

function toReply(
  { segments, debug_options, mode }: TabbyRequest,
  text: string,
  prompt: string | undefined,
): TabbyReply {
  const { return_snippets, return_prompt, disable_retrieval_augmented_code_completion: alone } =
    debug_options;
  return {
    id: `cmpl-${crypto.randomUUID()}`,
    choices: [{ index: 0, text }],
    ...((return_snippets || return_prompt) && {
      debug_data: {
        ...(return_snippets && { snippets: segments && !alone ? snippetsOf(segments) : [] }),
        ...(return_prompt && { prompt: prompt ?? "" }),
      },
    }),
    mode,
  };
}
