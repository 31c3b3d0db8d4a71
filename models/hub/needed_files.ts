// Which files of a repository serving needs. Pure.
import { HubError } from "./hub_errors.ts";
import type { HubFile } from "./hub_library.ts";

const REQUIRED = ["config.json", "tokenizer.json"];
const OPTIONAL = ["tokenizer_config.json", "generation_config.json"];
const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/**
 * The small files, and the tensors or the index that names them; or the one GGUF file, which has everything.
 * @param wanted part of a GGUF file's name, such as "Q4_K_M"
 * @throws {HubError} naming what the repository lacks
 */
export function neededFiles(repo: string, files: readonly HubFile[], wanted?: string): HubFile[] {
  const ggufs = files.filter(({ path }) => path.toLowerCase().endsWith(".gguf"));
  if (wanted !== undefined) return [oneGguf(repo, ggufs, wanted)];
  const has = (path: string) => files.find((file) => file.path === path);
  const tensors = has(SINGLE) ?? has(INDEX);
  if (!tensors && ggufs.length > 0) return [oneGguf(repo, ggufs, "")];
  if (!tensors) {
    throw new HubError(
      `Cannot pull ${repo}: it has no ${SINGLE}${
        has("pytorch_model.bin")
          ? ", only pytorch_model.bin, which must be converted (transformers: model.save_pretrained(...))"
          : ""
      }`,
    );
  }
  const missing = REQUIRED.find((path) => !has(path));
  if (missing) throw new HubError(`Cannot pull ${repo}: it has no ${missing}`);
  return [...[...REQUIRED, ...OPTIONAL].flatMap((path) => has(path) ?? []), tensors];
}

function oneGguf(repo: string, ggufs: readonly HubFile[], wanted: string): HubFile {
  const found = ggufs.filter(({ path }) => path.toLowerCase().includes(wanted.toLowerCase()));
  const exact = found.find(({ path }) => path === wanted);
  if (exact) return exact;
  if (found.length === 1) return found[0];
  const names = (found.length > 0 ? found : ggufs).map(({ path }) => path).sort().join(", ");
  throw new HubError(
    `Cannot pull ${repo}: ${
      ggufs.length === 0
        ? "it has no GGUF files"
        : `name one of its GGUF files by --gguf PART_OF_ITS_NAME: ${names}`
    }`,
  );
}

/**
 * The shards that an index names.
 * @param index text of model.safetensors.index.json; undefined where there is none
 * @throws {HubError} when it is no index, or names files that the repository lacks
 */
export function shardsOf(repo: string, files: readonly HubFile[], index: string): HubFile[] {
  let names: string[];
  try {
    names = [...new Set(Object.values(JSON.parse(index).weight_map as Record<string, string>))].sort();
  } catch {
    throw new HubError(`Cannot pull ${repo}: its ${INDEX} must have a "weight_map"`);
  }
  return names.map((name) => {
    const found = files.find(({ path }) => path === name);
    if (!found) throw new HubError(`Cannot pull ${repo}: its ${INDEX} names ${name}, which it lacks`);
    return found;
  });
}

export function isIndex({ path }: HubFile): boolean {
  return path === INDEX;
}
