// Which dialect a request speaks: by its path, and where two share one, by what its route found in the body. Errors,
// those of paths that there are not included, are told in it.
import type { Context } from "hono";

export type Dialect = "openai" | "llama" | "tgi" | "ollama" | "tabby";

declare module "hono" {
  interface ContextVariableMap {
    /** Set by a route whose path belongs to another dialect as well. */
    dialect: Dialect;
  }
}

/** Of what is none of these OpenAI's shape is the most widely read. */
const PATHS: readonly [pattern: RegExp, dialect: Dialect][] = [
  [/^\/(infill|completions?|tokenize|detokenize|props|models|health|v1\/health)\/?$/, "llama"],
  // Its routes that there are none of here included.
  [/^\/(slots|lora-adapters|apply-template)(\/|$)/, "llama"],
  [/^\/(generate|generate_stream|info|ping|models\/.+)\/?$/, "tgi"],
  [/^\/api(\/|$)/, "ollama"],
  [/^\/(v1\/events|v1beta(\/.*)?)\/?$/, "tabby"],
];

export function dialectOf(c: Context): Dialect {
  const { path, method } = c.req;
  const told = c.get("dialect");
  if (told) return told;
  if (path === "/" && method === "POST") return "tgi";
  return PATHS.find(([pattern]) => pattern.test(path))?.[1] ?? "openai";
}
