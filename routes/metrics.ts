// GET /metrics: what Prometheus scrapes. Answers while the model loads, too, with what is known by then.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Engine } from "../engine/engine.ts";
import type { ModelChoice } from "../engine/model_choice.ts";
import { documentRoute } from "./openapi.ts";
import type { Scrape, ServerMetrics } from "./server_metrics.ts";

export function metricsRoute(models: ModelChoice, metrics: ServerMetrics): OpenAPIHono {
  const app = new OpenAPIHono();
  const startedAt = Math.floor(Date.now() / 1000);
  app.get("/metrics", async (c) => {
    const text = await metrics.render(await scrape(models));
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

async function scrape(models: ModelChoice): Promise<Scrape> {
  const engine = models.primary, ready = engine.state.phase === "ready";
  const others = (await Promise.all(models.loaded().filter((other) => other !== engine).map(statsOf))).flat();
  const [own] = await statsOf(engine);
  // Loading, or broken down, or a model that had to give way.
  if (!own) return { ready, model: undefined, stats: undefined, others };
  return { ready, ...own, others };
}

/** None where the engine cannot be asked. */
async function statsOf(engine: Engine) {
  try {
    return [{ model: engine.model.id, stats: await engine.stats() }];
  } catch {
    return [];
  }
}
