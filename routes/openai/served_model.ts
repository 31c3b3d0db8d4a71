// The names by which OpenAI's clients ask for a model.
import type { Engine } from "../../engine/engine.ts";
import type { ModelChoice } from "../../engine/model_choice.ts";
import { HttpProblem } from "../http_problem.ts";

/**
 * The engine of the model that a client names, loaded; without a name, that of requests that name none.
 * @throws {HttpProblem} there is no such model
 */
export async function requireModel(
  models: ModelChoice,
  id: string | undefined,
  signal?: AbortSignal,
): Promise<Engine> {
  const engine = await models.choose(id, signal);
  if (engine) return engine;
  throw unknownModel(models, id!);
}

export function unknownModel(models: ModelChoice, id: string): HttpProblem {
  const served = models.list().map((model) => `"${model.id}"`).join(", ");
  return new HttpProblem(
    "notFound",
    `The model "${id.slice(0, 200)}" does not exist: this server has ${served}`,
    {
      param: "model",
      code: "model_not_found",
    },
  );
}
