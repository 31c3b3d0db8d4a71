// Paths on the command line.
import { isAbsolute, join } from "std/path/mod.js";

/** A path as the caller means it: `deno task` moves to the repository's root and leaves the caller's folder in INIT_CWD. */
export function callersPath(path: string): string {
  const folder = Deno.env.get("INIT_CWD");
  return !folder || folder === Deno.cwd() || isAbsolute(path) ? path : join(folder, path);
}
