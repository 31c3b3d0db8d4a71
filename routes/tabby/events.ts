// POST /v1/events as Tabby has it: what became of a completion. Counted, and not kept.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import { COMPLETION_EVENTS, type CompletionEvent } from "../completion_events.ts";
import { readJson } from "../json_body.ts";
import { documentRoute } from "../openapi.ts";
import type { RouteOptions } from "../route_options.ts";

const eventRequest = z.object({
  type: z.enum(COMPLETION_EVENTS).describe("view: shown. select: accepted. dismiss: refused, or typed over."),
  completion_id: z.string().describe("The completion's `id`."),
  choice_index: z.int().min(0),
  view_id: z.string().optional(),
  elapsed: z.number().optional().describe("Milliseconds that it was shown."),
}).openapi("CompletionEvent");

export interface CompletionEventsOptions extends RouteOptions {
  readonly count: (event: CompletionEvent) => void;
}

export function tabbyEvents(options: CompletionEventsOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  app.post("/v1/events", async (c) => {
    const { type } = await readJson(c, eventRequest, options);
    options.count(type);
    return c.body(null);
  });
  documentRoute(app, {
    method: "post",
    path: "/v1/events",
    summary: "Say what became of a completion, as Tabby's clients do",
    description: "Counted in /metrics as `hyades_completion_events_total`. The reply is empty.",
    query: z.object({
      select_kind: z.enum(["line"]).optional().describe("A line was accepted. Accepted and ignored."),
    }),
    request: eventRequest,
    example: { type: "view", completion_id: "cmpl-1", choice_index: 0 },
    reply: z.string(),
    replyType: "text/plain",
  });
  return app;
}
