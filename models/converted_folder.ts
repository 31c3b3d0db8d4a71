// The folder that a conversion of a model writes into: checked before, and given the model's files beside its weights.
import { findTensors, readJson } from "./checkpoint.ts";

/** Files that a folder may hold besides its weights and config.json, copied as they are. */
const COPIED = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "vocab.json",
  "merges.txt",
];

/**
 * Makes the folder where it is missing.
 * @param task what cannot be done, for the errors: "quantize"
 * @throws {Deno.errors.AlreadyExists} when `target` holds a model and `force` is not set
 * @throws {TypeError} when `target` is a file, or `source` itself
 */
export async function prepareTarget(
  source: string,
  target: string,
  task: string,
  force: boolean,
): Promise<void> {
  if (await Deno.stat(target).then(({ isDirectory }) => !isDirectory, () => false)) {
    throw new TypeError(`Cannot ${task}: "${target}" is a file; name a folder`);
  }
  await Deno.mkdir(target, { recursive: true });
  if (await Deno.realPath(source) === await Deno.realPath(target)) {
    throw new TypeError(`Cannot ${task}: "${target}" is the checkpoint itself; name another folder`);
  }
  const existing = force ? undefined : await findTensors(target).catch(() => undefined);
  if (existing) {
    throw new Deno.errors.AlreadyExists(
      `Cannot ${task}: "${existing}" exists; name another folder, or overwrite it with --force`,
    );
  }
}

/** Copies the tokenizer's and generation's files, and config.json with `changes`. */
export async function writeOtherFiles(
  source: string,
  target: string,
  changes: Readonly<Record<string, unknown>>,
): Promise<void> {
  const config = { ...await readJson(source, "config.json") as Record<string, unknown>, ...changes };
  await Deno.writeTextFile(`${target}/config.json`, `${JSON.stringify(config, null, 2)}\n`);
  for (const file of COPIED) {
    // Copied by content: a source that is read-only must not make the copy so.
    const content = await Deno.readFile(`${source}/${file}`).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    if (content) await Deno.writeFile(`${target}/${file}`, content);
  }
}
