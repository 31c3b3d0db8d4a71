// The field by which clients of llama.cpp's server name a model. llama.vim sends it empty.
import { z } from "@hono/zod-openapi";

export const modelField = z.string().default("").describe(
  "Which of the models in `/v1/models`; empty is the first of them. Where the server has one model, any name is its.",
);
