// Stop strings as the dialects take them, one or an array.
import { z } from "@hono/zod-openapi";

/** Each character of a completion is held against every one of them. */
const MOST = 128;

/** @param name of the field, as errors say it */
export function stopField(name: string) {
  return z.union([z.string(), z.array(z.string()).max(MOST)], {
    error: `"${name}" must be a string or an array of at most ${MOST} strings`,
  });
}
