// GET /props as llama.cpp's server has it: what is served and by which defaults, for clients that look before they ask.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { Engine } from "../../engine/engine.ts";
import type { ModelChoice } from "../../engine/model_choice.ts";
import { HttpProblem } from "../http_problem.ts";
import { modelQuery, namedEngine, namedModel } from "../named_model.ts";
import { documentRoute } from "../openapi.ts";
import { generationFields } from "./generation_schema.ts";
import { generationSettings } from "./native_reply.ts";

export interface PropsOptions {
  /** Of this server. */
  readonly version: string;
}

const props = z.object({
  default_generation_settings: z.object({
    params: z.looseObject({}),
    n_ctx: z.int().describe("The model's context, tokens."),
  }),
  total_slots: z.int().describe(
    "1: slots are not counted here; as many requests run as the cache has room for.",
  ),
  model_alias: z.string(),
  model_path: z.string().describe("The served model's id: paths are the server's own affair."),
  modalities: z.object({ vision: z.boolean(), audio: z.boolean() }),
  endpoint_slots: z.boolean(),
  endpoint_props: z.boolean().describe("Whether they can be set."),
  endpoint_metrics: z.boolean(),
  chat_template: z.string().describe("Empty: no chat."),
  bos_token: z.string().describe("Empty: no token begins a text."),
  eos_token: z.string(),
  build_info: z.string(),
  is_sleeping: z.boolean(),
}).openapi("Props");

/** What each field is where a request leaves it out. */
const DEFAULTS = z.object(generationFields);

export function llamaProps(models: ModelChoice, { version }: PropsOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  app.get("/props", async (c) => {
    const engine = await askedModel(c, models), { model } = engine;
    const body = DEFAULTS.parse({});
    const { temperature, top_k: topK, top_p: topP, min_p: minP } = body;
    const params = generationSettings(body, { model, generation: { temperature, topK, topP, minP } });
    const found: z.output<typeof props> = {
      default_generation_settings: { params, n_ctx: model.contextLength },
      total_slots: 1,
      model_alias: model.id,
      model_path: model.id,
      modalities: { vision: false, audio: false },
      endpoint_slots: true,
      endpoint_props: false,
      endpoint_metrics: true,
      chat_template: "",
      bos_token: "",
      eos_token: await engine.detokenize([model.eosTokenId]),
      build_info: `hyades-${version}`,
      is_sleeping: false,
    };
    return c.json(found);
  });
  documentRoute(app, {
    method: "get",
    path: "/props",
    summary: "A model and the defaults of /infill and /completion, as llama.cpp's server shows them",
    query: modelQuery.extend({
      autoload: z.enum(["true", "false"]).optional().describe(
        "false: a model that is not loaded is not loaded for this, but refused.",
      ),
    }),
    reply: props,
  });
  return app;
}

/** @throws {HttpProblem} there is no such model, or it is not loaded and not to be loaded */
async function askedModel(c: Context, models: ModelChoice): Promise<Engine> {
  const { model: name, autoload } = c.req.query();
  if (autoload !== "false") return await namedModel(c, models, name);
  const engine = namedEngine(c, models, name);
  if (models.loaded().includes(engine)) return engine;
  throw new HttpProblem("invalid", "The model is not loaded: leave autoload=false out to have it loaded", {
    param: "autoload",
  });
}
