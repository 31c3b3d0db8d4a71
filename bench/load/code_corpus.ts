// Real code to complete: this repository's own sources and those of its dependencies, or folders of the caller's.
import { fromFileUrl, join } from "std/path/mod.js";
import type { SeededRandom } from "./seeded_random.ts";

export interface SourceFile {
  readonly path: string;
  readonly lines: readonly string[];
}

const EXTENSIONS = /\.(ts|tsx|js|mjs|jsx|py|rs|go|c|h|cc|cpp|java|rb|wgsl)$/;
const SKIPPED_FOLDERS = /^(\..*|node_modules|__pycache__|fixtures|weights|dist|target)$/;
/** Files enough to edit in, and not so long that they are tables or bundles. */
const MIN_LINES = 60, MAX_LINES = 4000, MAX_LINE_LENGTH = 200;
const MAX_ENTRIES = 20_000, MAX_FILES = 300;

/**
 * Files chosen by the seed, from all below the folders; the same for the same files and seed.
 * @throws {Error} a folder cannot be read, or there is no code in any
 */
export async function readCorpus(folders: readonly string[], random: SeededRandom): Promise<SourceFile[]> {
  const budget = { entries: MAX_ENTRIES };
  const paths: string[] = [];
  for (const folder of folders) paths.push(...await sourcePaths(folder, budget));
  const files: SourceFile[] = [];
  while (paths.length > 0 && files.length < MAX_FILES) {
    const [path] = paths.splice(random.below(paths.length), 1);
    const lines = (await Deno.readTextFile(path)).split("\n");
    if (isCode(lines)) files.push({ path, lines });
  }
  if (files.length > 0) return files;
  throw new Error(`Cannot make a load: no code of ${MIN_LINES} lines and more in ${folders.join(", ")}`);
}

/** This repository, and what Deno has downloaded of its npm packages, where it says where that is. */
export async function defaultFolders(): Promise<string[]> {
  const repository = fromFileUrl(new URL("../../", import.meta.url));
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"], stderr: "null" })
    .output();
  const { npmCache } = JSON.parse(new TextDecoder().decode(stdout)) as { npmCache?: string };
  const hasCache = npmCache !== undefined && await Deno.stat(npmCache).then(() => true, () => false);
  return hasCache ? [repository, npmCache] : [repository];
}

/** In order of their names, so that the same seed finds the same files. */
async function sourcePaths(folder: string, budget: { entries: number }): Promise<string[]> {
  const entries: Deno.DirEntry[] = [];
  for await (const entry of Deno.readDir(folder)) entries.push(entry);
  entries.sort((a, b) => a.name < b.name ? -1 : 1);
  const paths: string[] = [];
  for (const { name, isDirectory, isFile } of entries) {
    if (--budget.entries < 0) break;
    const path = join(folder, name);
    if (isDirectory && !SKIPPED_FOLDERS.test(name)) paths.push(...await sourcePaths(path, budget));
    else if (isFile && EXTENSIONS.test(name) && !/\.(min|d)\.[a-z]+$/.test(name)) paths.push(path);
  }
  return paths;
}

function isCode(lines: readonly string[]): boolean {
  return lines.length >= MIN_LINES && lines.length <= MAX_LINES &&
    lines.every((line) => line.length <= MAX_LINE_LENGTH);
}
