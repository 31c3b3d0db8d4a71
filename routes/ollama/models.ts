// What Ollama says of its models and itself: GET /api/tags, /api/ps, /api/version, POST /api/show.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { ModelInfo } from "../../engine/engine.ts";
import type { ListedModel, ModelChoice } from "../../engine/model_choice.ts";
import { readJson } from "../json_body.ts";
import {
  capabilitiesOf,
  detailsOf,
  digestOf,
  modelDetails,
  modelEntry,
  parametersOf,
  toModelEntry,
} from "../model_entry.ts";
import { namedListing, taggedName } from "../named_model.ts";
import { documentRoute } from "../openapi.ts";
import type { RouteOptions } from "../route_options.ts";
import { ollamaError } from "./error.ts";
import { templateOf } from "./template.ts";

const running = modelEntry.omit({ modified_at: true, capabilities: true }).extend({
  expires_at: z.string(),
  size_vram: z.int(),
  context_length: z.int(),
});

const showRequest = z.object({
  model: z.string().default("").describe("As in /api/tags; empty is the first."),
  name: z.string().default("").describe("Older name of `model`."),
}).openapi("OllamaShowRequest");

const shown = z.object({
  modelfile: z.string(),
  parameters: z.string(),
  template: z.string().describe("Has `.Suffix` when the model fills in the middle."),
  details: modelDetails,
  model_info: z.record(z.string(), z.union([z.string(), z.int()])),
  capabilities: z.array(z.string()),
  modified_at: z.string(),
}).openapi("OllamaShow");

export function ollamaModels(
  models: ModelChoice,
  options: RouteOptions & { readonly version: string },
): OpenAPIHono {
  const app = new OpenAPIHono();
  const startedAt = new Date().toISOString();
  app.get("/api/tags", (c) => {
    const toEntry = (model: ListedModel) => toModelEntry(model, taggedName(model.id), startedAt);
    return c.json({ models: models.list().map(toEntry) });
  });
  app.get("/api/ps", (c) => c.json({ models: models.loaded().map(({ model }) => toRunning(model)) }));
  app.get("/api/version", (c) => c.json({ version: options.version }));
  app.post("/api/show", async (c) => {
    const { model, name } = await readJson(c, showRequest, options);
    return c.json(toShown(namedListing(c, models, model || name), startedAt));
  });
  documentRoute(app, {
    method: "get",
    path: "/api/tags",
    summary: "The served models, as Ollama lists its own",
    errorReply: ollamaError,
    reply: z.object({ models: z.array(modelEntry) }),
  });
  documentRoute(app, {
    method: "get",
    path: "/api/ps",
    summary: "Those that are loaded, as Ollama lists them",
    errorReply: ollamaError,
    reply: z.object({ models: z.array(running) }),
  });
  documentRoute(app, {
    method: "get",
    path: "/api/version",
    summary: "The server's version",
    errorReply: ollamaError,
    reply: z.object({ version: z.string() }),
  });
  documentRoute(app, {
    method: "post",
    path: "/api/show",
    summary: "What a model is and can, as Ollama says it",
    errorReply: ollamaError,
    request: showRequest,
    example: { model: "" },
    reply: shown,
  });
  return app;
}

function toRunning(model: ModelInfo): z.output<typeof running> {
  const name = taggedName(model.id);
  return {
    ...{ name, model: name },
    size: model.weightBytes,
    digest: digestOf(model),
    details: detailsOf(model),
    // It stays until others need its room: Go's zero time says "never" least badly to who parses it.
    expires_at: "0001-01-01T00:00:00Z",
    size_vram: model.backend === "cpu" ? 0 : model.weightBytes,
    context_length: model.contextLength,
  };
}

function toShown(model: ListedModel, modified_at: string): z.output<typeof shown> {
  const { architecture, contextLength, numParameters, vocabSize, width } = model;
  const template = templateOf(model), parameters = parametersOf(model);
  return {
    modelfile: `FROM ${taggedName(model.id)}\nTEMPLATE """${template}"""\nPARAMETER ${parameters}\n`,
    parameters,
    template,
    details: detailsOf(model),
    model_info: {
      "general.architecture": architecture,
      "general.basename": model.id,
      "general.parameter_count": numParameters,
      [`${architecture}.context_length`]: contextLength,
      [`${architecture}.embedding_length`]: width,
      [`${architecture}.vocab_size`]: vocabSize,
    },
    capabilities: capabilitiesOf(model),
    modified_at,
  };
}
