// From what the user calls a model to where it lies: a folder or a GGUF file of theirs, or something that was pulled.
import { basename } from "std/path/mod.js";
import { parseRepoName, RepoCache } from "../models/hub/hub_cache.ts";
import { callersPath } from "./callers_path.ts";

export interface FoundModel {
  /** A folder, or a GGUF file. */
  readonly path: string;
  /** What clients call it: the folder's name, or the repository's. */
  readonly id: string;
}

/**
 * What is there under this path comes first; then what was pulled under this name. No network.
 * @throws {Deno.errors.NotFound} saying how to get it
 */
export async function findModel(model: string): Promise<FoundModel> {
  const path = callersPath(model);
  const found = await Deno.stat(path).catch(() => undefined);
  if (found) return { path, id: folderName(path) };
  const name = parseRepoName(model);
  const snapshot = name && await (await RepoCache.of(name.repo)).find(name.revision);
  if (snapshot) return { path: await servedPart(snapshot), id: model };
  throw new Deno.errors.NotFound(
    `Cannot load model: "${model}" must be a model folder, there is none${
      name?.repo.includes("/") ? `, nor was it pulled: deno task pull ${model}` : ""
    }`,
  );
}

/** A snapshot without safetensors has one GGUF file. */
async function servedPart(snapshot: string): Promise<string> {
  const names = (await Array.fromAsync(Deno.readDir(snapshot))).map(({ name }) => name);
  if (names.includes("config.json")) return snapshot;
  const gguf = names.find((name) => name.toLowerCase().endsWith(".gguf"));
  return gguf ? `${snapshot}/${gguf}` : snapshot;
}

/** The last part of a path. */
function folderName(path: string): string {
  return basename(path.replace(/[\\/]+$/, "")).replace(/\.gguf$/i, "") || "model";
}
