// GET /v1/models and /v1/models/{id}: the models that are served, loaded or not, in OpenAI's list form, with the additions
// that clients of vLLM (max_model_len) and llama.cpp (meta, and `models` beside the list) read. llama.cpp has the list at
// /models, too.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { ListedModel, ModelChoice } from "../../engine/model_choice.ts";
import { namedListing } from "../named_model.ts";
import { modelEntry, parametersOf, toModelEntry } from "../model_entry.ts";
import { documentRoute } from "../openapi.ts";

/** Byte-level BPE, the one kind of tokenizer served: LLAMA_VOCAB_TYPE_BPE of llama.cpp's include/llama.h. */
const BPE = 2;

const modelItem = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: z.int().describe("Unix time in seconds at which the server started."),
  owned_by: z.literal("hyades"),
  max_model_len: z.int(),
  meta: z.object({
    vocab_type: z.literal(BPE).describe("llama.cpp's number for byte-level BPE."),
    n_vocab: z.int(),
    n_ctx_train: z.int(),
    n_embd: z.int().describe("Channels of a token on its way through the layers."),
    n_params: z.int(),
    size: z.int().describe("Bytes of the weights in their files."),
  }),
}).openapi("Model");

const llamaEntry = modelEntry.extend({
  type: z.literal("model"),
  description: z.string().describe("Empty: there is none."),
  tags: z.array(z.string()).describe("Empty: there are none."),
  parameters: z.string().describe("As in /api/show."),
}).openapi("LlamaModel");

const modelList = z.object({
  object: z.literal("list"),
  data: z.array(modelItem),
  models: z.array(llamaEntry).describe("The same models as llama.cpp's server lists them, after Ollama."),
}).openapi("ModelList");

export function openAiModels(models: ModelChoice): OpenAPIHono {
  const app = new OpenAPIHono();
  const startedAt = new Date();
  for (const path of ["/v1/models", "/models"]) {
    app.get(path, (c) => c.json(toList(models.list(), startedAt)));
  }
  // Ids may hold slashes, as on the Hugging Face hub.
  app.get(
    "/v1/models/:id{.+}",
    (c) => c.json(toItem(namedListing(c, models, c.req.param("id")), startedAt)),
  );
  documentRoute(app, {
    method: "get",
    path: "/v1/models",
    summary: "The served models; /models is the same",
    reply: modelList,
  });
  documentRoute(app, {
    method: "get",
    path: "/v1/models/{id}",
    summary: "One model",
    params: z.object({ id: z.string() }),
    reply: modelItem,
  });
  return app;
}

function toList(models: readonly ListedModel[], startedAt: Date): z.output<typeof modelList> {
  return {
    object: "list",
    data: models.map((model) => toItem(model, startedAt)),
    models: models.map((model) => toLlamaEntry(model, startedAt.toISOString())),
  };
}

/** Its name is the id in `data`. */
function toLlamaEntry(model: ListedModel, startedAt: string): z.output<typeof llamaEntry> {
  return {
    ...toModelEntry(model, model.id, startedAt),
    type: "model",
    description: "",
    tags: [],
    parameters: parametersOf(model),
  };
}

function toItem(model: ListedModel, startedAt: Date): z.output<typeof modelItem> {
  return {
    id: model.id,
    object: "model",
    created: Math.floor(startedAt.getTime() / 1000),
    owned_by: "hyades",
    max_model_len: model.contextLength,
    meta: {
      vocab_type: BPE,
      n_vocab: model.vocabSize,
      n_ctx_train: model.contextLength,
      n_embd: model.width,
      n_params: model.numParameters,
      size: model.weightBytes,
    },
  };
}
