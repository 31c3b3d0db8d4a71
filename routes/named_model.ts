// Which model a request is for: one way for all dialects, each of which only says where its clients write the name.
import { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { Engine } from "../engine/engine.ts";
import type { ListedModel, ModelChoice } from "../engine/model_choice.ts";
import { type Dialect, dialectOf } from "./dialects.ts";
import { HttpProblem } from "./http_problem.ts";
import { beginningOf } from "../engine/shown_text.ts";

/** For routes that only look. */
export const modelQuery = z.object({
  model: z.string().optional().describe(
    "Which of the models in `/v1/models`; left out or empty, the first of them.",
  ),
});

/** Servers that have one model and do not look at its name; so this one does not either while it has one. */
const BLIND_TO_NAMES: ReadonlySet<Dialect> = new Set(["llama", "tgi"]);

/** Ollama's names have a tag; clients leave it out where it is this one. */
const OLLAMA_TAG = ":latest";

export function taggedName(id: string): string {
  return `${id}${OLLAMA_TAG}`;
}

/**
 * The engine of the model that a client names, its model loaded; without a name, or with an empty one, the primary.
 * @throws {HttpProblem} there is no such model, or the client left while it was loaded
 * @throws {EngineUnavailableError} it cannot be loaded now
 */
export async function namedModel(c: Context, models: ModelChoice, name = ""): Promise<Engine> {
  const { signal } = c.req.raw;
  try {
    const engine = await models.choose(servedName(c, models, name), signal);
    return engine ?? unknownModel(c, models, name);
  } catch (error) {
    if (signal.aborted) throw new HttpProblem("cancelled", "The client closed the request");
    throw error;
  }
}

/**
 * The same for those who only look: nothing is loaded.
 * @throws {HttpProblem} there is no such model
 */
export function namedEngine(c: Context, models: ModelChoice, name = ""): Engine {
  return models.find(servedName(c, models, name)) ?? unknownModel(c, models, name);
}

/**
 * What is known of it, loaded or not.
 * @throws {HttpProblem} there is no such model
 */
export function namedListing(c: Context, models: ModelChoice, name = ""): ListedModel {
  const list = models.list(), served = servedName(c, models, name);
  return (served === "" ? list[0] : list.find(({ id }) => id === served)) ?? unknownModel(c, models, name);
}

/** By which the choice knows the model, if it does. */
function servedName(c: Context, models: ModelChoice, name: string): string {
  if (name === "") return name;
  const dialect = dialectOf(c), ids = models.list().map(({ id }) => id);
  if (ids.includes(name)) return name;
  if (ids.length === 1 && BLIND_TO_NAMES.has(dialect)) return ids[0]!;
  const isTagged = dialect === "ollama" && name.endsWith(OLLAMA_TAG);
  return isTagged ? name.slice(0, -OLLAMA_TAG.length) : name;
}

function unknownModel(c: Context, models: ModelChoice, name: string): never {
  const shown = beginningOf(name, 200), details = { param: "model", code: "model_not_found" };
  if (dialectOf(c) === "ollama") {
    throw new HttpProblem("notFound", `model "${shown}" not found, try pulling it first`, details);
  }
  const served = models.list().map(({ id }) => `"${id}"`).join(", ");
  throw new HttpProblem(
    "notFound",
    `The model "${shown}" does not exist: this server has ${served}`,
    details,
  );
}
