// A bound on what a request's headers may weigh: those that we read are short.
import type { MiddlewareHandler } from "hono";
import { HttpProblem } from "./http_problem.ts";

/** Counts names and values, bytes of their UTF-8 form near enough: HTTP allows little else than ASCII. */
export function limitHeaders(limitBytes: number): MiddlewareHandler {
  return async function limitHeaders(c, next) {
    let sizeBytes = c.req.url.length;
    for (const [name, value] of c.req.raw.headers) sizeBytes += name.length + value.length;
    if (sizeBytes > limitBytes) {
      throw new HttpProblem(
        "headersTooLarge",
        `The address and the headers must be at most ${limitBytes} bytes, received ${sizeBytes}`,
        { code: "headers_too_large" },
      );
    }
    await next();
  };
}
