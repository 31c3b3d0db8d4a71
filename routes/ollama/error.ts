// What Ollama's clients read where something is wrong.
import { z } from "@hono/zod-openapi";

export const ollamaError = z.object({ error: z.string() }).openapi("OllamaError");
