// The name by which OpenAI's clients ask for the one model that is served.
import type { Engine } from "../../engine/engine.ts";
import { HttpProblem } from "../http_problem.ts";

/** @throws {HttpProblem} the client names a model that is not the served one */
export function requireServedModel(engine: Engine, id: string | undefined): void {
  const served = engine.model.id;
  if (id === undefined || id === "" || id === served) return;
  throw new HttpProblem(
    "notFound",
    `The model "${id.slice(0, 200)}" does not exist: this server has "${served}"`,
    {
      param: "model",
      code: "model_not_found",
    },
  );
}
