// The model that is served when none is named, embedded in the repository: the one place that says which it is.
import { fromFileUrl } from "std/path/mod.js";

/** The name it is served under. */
export const DEFAULT_MODEL_ID = "hyades-starcoder-31m-v2";

export const DEFAULT_MODEL_DIR: string = fromFileUrl(
  new URL(`../weights/${DEFAULT_MODEL_ID}`, import.meta.url),
);
