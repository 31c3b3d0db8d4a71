// GET /metrics: what Prometheus scrapes. Answers while the model loads, too, with what is known by then.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Engine } from "../engine/engine.ts";
import { documentRoute } from "./openapi.ts";
import type { ServerMetrics } from "./server_metrics.ts";

export function metricsRoute(engine: Engine, metrics: ServerMetrics): OpenAPIHono {
  const app = new OpenAPIHono();
  const startedAt = Math.floor(Date.now() / 1000);
  app.get("/metrics", async (c) => {
    const text = await metrics.render(await scrape(engine));
    return c.body(text, 200, {
      "Content-Type": metrics.contentType,
      "Process-Start-Time-Unix": `${startedAt}`, // As llama.cpp sends it.
    });
  });
  documentRoute(app, {
    method: "get",
    path: "/metrics",
    summary: "Metrics for Prometheus, under vLLM's and llama.cpp's names",
    reply: z.string(),
    replyType: "text/plain",
  });
  return app;
}

async function scrape(engine: Engine) {
  const ready = engine.state.phase === "ready";
  try {
    return { ready, model: engine.model.id, stats: await engine.stats() };
  } catch {
    return { ready, model: undefined, stats: undefined }; // Loading, or broken down.
  }
}
