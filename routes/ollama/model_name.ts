// How Ollama's clients call the one model that is served, and what they read where they are wrong.
import { z } from "@hono/zod-openapi";
import type { Engine } from "../../engine/engine.ts";
import { HttpProblem } from "../http_problem.ts";

export const ollamaError = z.object({ error: z.string() }).openapi("OllamaError");

const TAG = ":latest";

/** Ollama's names have a tag. */
export function taggedName(id: string): string {
  return `${id}${TAG}`;
}

/** @throws {HttpProblem} the name is another model's, with or without the tag */
export function requireModel(engine: Engine, name: string): void {
  const { id } = engine.model;
  if (name === "" || name === id || name === taggedName(id)) return;
  throw new HttpProblem("notFound", `model "${name.slice(0, 200)}" not found, try pulling it first`, {
    param: "model",
  });
}
