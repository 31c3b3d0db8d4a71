// What the routes that read a body are configured with.
import type { ReportError } from "./errors.ts";

export interface RouteOptions {
  /** Largest request body, bytes. */
  readonly bodyLimitBytes: number;
  readonly report: ReportError;
}
