// GET /v1/models and /v1/models/{id}: the models that are served, loaded or not, in OpenAI's list form, with the additions
// that clients of vLLM (max_model_len) and llama.cpp (meta) read. llama.cpp has the list at /models, too.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { ListedModel, ModelChoice } from "../../engine/model_choice.ts";
import { namedListing } from "../named_model.ts";
import { documentRoute } from "../openapi.ts";

const modelItem = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: z.int().describe("Unix time in seconds at which the server started."),
  owned_by: z.literal("hyades"),
  max_model_len: z.int(),
  meta: z.object({ n_vocab: z.int(), n_ctx_train: z.int(), n_params: z.int(), size: z.int() }),
}).openapi("Model");

const modelList = z.object({ object: z.literal("list"), data: z.array(modelItem) }).openapi("ModelList");

export function openAiModels(models: ModelChoice): OpenAPIHono {
  const app = new OpenAPIHono();
  const created = Math.floor(Date.now() / 1000);
  for (const path of ["/v1/models", "/models"]) {
    app.get(
      path,
      (c) => c.json({ object: "list", data: models.list().map((model) => toItem(model, created)) }),
    );
  }
  // Ids may hold slashes, as on the Hugging Face hub.
  app.get(
    "/v1/models/:id{.+}",
    (c) => c.json(toItem(namedListing(c, models, c.req.param("id")), created)),
  );
  documentRoute(app, { method: "get", path: "/v1/models", summary: "The served models", reply: modelList });
  documentRoute(app, {
    method: "get",
    path: "/v1/models/{id}",
    summary: "One model",
    params: z.object({ id: z.string() }),
    reply: modelItem,
  });
  return app;
}

function toItem(model: ListedModel, created: number): z.output<typeof modelItem> {
  return {
    id: model.id,
    object: "model",
    created,
    owned_by: "hyades",
    max_model_len: model.contextLength,
    meta: {
      n_vocab: model.vocabSize,
      n_ctx_train: model.contextLength,
      n_params: model.numParameters,
      size: model.weightBytes,
    },
  };
}
