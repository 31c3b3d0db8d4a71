// What the routes that ask the engine for work are configured with.
import type { Deadlines } from "../engine/deadlines.ts";
import type { ReportError } from "./errors.ts";
import type { BodyLimits } from "./json_body.ts";

export interface RouteOptions extends BodyLimits {
  /** Bind every request; what a client asks for can only be shorter. */
  readonly deadlines: Deadlines;
  readonly report: ReportError;
}
