// What Ollama says of its models and itself: GET /api/tags, /api/ps, /api/version, POST /api/show.
import { createHash } from "node:crypto";
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { ModelInfo } from "../../engine/engine.ts";
import type { ListedModel, ModelChoice } from "../../engine/model_choice.ts";
import { readJson } from "../json_body.ts";
import { namedListing, taggedName } from "../named_model.ts";
import { documentRoute } from "../openapi.ts";
import type { RouteOptions } from "../route_options.ts";
import { ollamaError } from "./error.ts";
import { templateOf } from "./template.ts";

const details = z.object({
  parent_model: z.string(),
  format: z.literal("safetensors"),
  family: z.string(),
  families: z.array(z.string()),
  parameter_size: z.string(),
  quantization_level: z.string().describe("Bits of a weight, on average."),
}).openapi("OllamaDetails");

const listed = z.object({
  name: z.string(),
  model: z.string(),
  modified_at: z.string().describe("When the server started."),
  size: z.int(),
  digest: z.string().describe("Of the model's name and sizes, not of its weights."),
  details,
  capabilities: z.array(z.string()),
}).openapi("OllamaModel");

const running = listed.omit({ modified_at: true, capabilities: true }).extend({
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
  details,
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
  app.get("/api/tags", (c) => c.json({ models: models.list().map((model) => toListed(model, startedAt)) }));
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
    reply: z.object({ models: z.array(listed) }),
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

function toListed(model: ListedModel, modified_at: string): z.output<typeof listed> {
  const name = taggedName(model.id);
  return {
    ...{ name, model: name, modified_at },
    size: model.weightBytes,
    digest: digestOf(model),
    details: detailsOf(model),
    capabilities: capabilitiesOf(model),
  };
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
  const { architecture, contextLength, numParameters, vocabSize } = model;
  const template = templateOf(model);
  return {
    modelfile: `FROM ${
      taggedName(model.id)
    }\nTEMPLATE """${template}"""\nPARAMETER num_ctx ${contextLength}\n`,
    parameters: `num_ctx ${contextLength}`,
    template,
    details: detailsOf(model),
    model_info: {
      "general.architecture": architecture,
      "general.basename": model.id,
      "general.parameter_count": numParameters,
      [`${architecture}.context_length`]: contextLength,
      [`${architecture}.vocab_size`]: vocabSize,
    },
    capabilities: capabilitiesOf(model),
    modified_at,
  };
}

function capabilitiesOf({ fim }: ListedModel): string[] {
  return fim.supported ? ["completion", "insert"] : ["completion"];
}

function detailsOf({ architecture, numParameters, weightBytes }: ListedModel): z.output<typeof details> {
  return {
    parent_model: "",
    format: "safetensors",
    family: architecture,
    families: [architecture],
    parameter_size: parameterSize(numParameters),
    quantization_level: `${Math.round(weightBytes * 8 / numParameters)}-bit`,
  };
}

/** "31.0M", "1.1B". */
function parameterSize(count: number): string {
  return count < 1e9 ? `${(count / 1e6).toFixed(1)}M` : `${(count / 1e9).toFixed(1)}B`;
}

function digestOf({ id, numParameters, weightBytes }: ListedModel): string {
  return createHash("sha256").update(`${id} ${numParameters} ${weightBytes}`).digest("hex");
}
