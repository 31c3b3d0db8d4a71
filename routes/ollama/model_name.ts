// How Ollama's clients call the models that are served, and what they read where they are wrong.
import { z } from "@hono/zod-openapi";
import type { Engine } from "../../engine/engine.ts";
import type { ModelChoice } from "../../engine/model_choice.ts";
import { HttpProblem } from "../http_problem.ts";

export const ollamaError = z.object({ error: z.string() }).openapi("OllamaError");

const TAG = ":latest";

/** Ollama's names have a tag. */
export function taggedName(id: string): string {
  return `${id}${TAG}`;
}

/**
 * The engine of the model that a client names, with or without the tag, loaded.
 * @throws {HttpProblem} there is no such model
 */
export async function requireModel(models: ModelChoice, name: string, signal?: AbortSignal): Promise<Engine> {
  const engine = await models.choose(name, signal) ?? await models.choose(withoutTag(name), signal);
  if (engine) return engine;
  throw new HttpProblem("notFound", `model "${name.slice(0, 200)}" not found, try pulling it first`, {
    param: "model",
  });
}

function withoutTag(name: string): string {
  return name.endsWith(TAG) ? name.slice(0, -TAG.length) || name : name;
}
