// A repository on a stand-in for the hub, pulled into a cache that is removed afterwards, for tests.
import { deepStrictEqual, equal } from "node:assert/strict";
import { join } from "std/path/mod.js";
import { openCheckpoint } from "../../../models/checkpoint.ts";
import { RepoCache } from "../../../models/hub/hub_cache.ts";
import { type PulledModel, pullModel, type PullOptions } from "../../../models/hub/pull_model.ts";
import { PARITY_CASES } from "../parity_cases.ts";
import { FakeHub, type FakeRepo } from "./fake_hub.ts";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const NAME = { repo: "org/tiny", revision: "main" };
export const WEIGHTS = "model.safetensors";

/** A fixture's folder, with what else repositories have. */
export async function repository(name: string, change: Partial<FakeRepo> = {}): Promise<FakeRepo> {
  const { modelDir } = PARITY_CASES.find((parityCase) => parityCase.name === name)!;
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const file of [".gitattributes", "README.md", "onnx/model.onnx", "pytorch_model.bin"]) {
    files.set(file, new TextEncoder().encode(file));
  }
  for await (const { name: file } of Deno.readDir(modelDir)) {
    if (!file.startsWith("expected")) files.set(file, await Deno.readFile(join(modelDir, file)));
  }
  return { commit: COMMIT, files, ...change };
}

export interface Bench {
  readonly hub: FakeHub;
  readonly repo: FakeRepo;
  readonly cacheDir: string;
  readonly waits: string[];
  pull(
    options?: Partial<PullOptions> & { readonly token?: string; readonly revision?: string },
  ): Promise<PulledModel>;
}

export async function withHub(body: (bench: Bench) => Promise<void>, given?: FakeRepo): Promise<void> {
  await using hub = new FakeHub();
  const repo = given ?? await repository("mqa-d40-f32"), waits: string[] = [];
  hub.repos.set(NAME.repo, repo);
  const cacheDir = await Deno.makeTempDir();
  const pull: Bench["pull"] = ({ token, revision = "main", ...options } = {}) =>
    pullModel({ ...NAME, revision }, {
      access: { endpoint: hub.endpoint, ...(token && { token }) },
      cacheDir,
      pauseMs: 1,
      onWait: (reason) => waits.push(reason),
      ...options,
    });
  try {
    await body({ hub, repo, cacheDir, waits, pull });
  } finally {
    await Deno.remove(cacheDir, { recursive: true });
  }
}

/** Every file below a folder, by its path. */
export async function tree(folder: string, prefix = ""): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(join(folder, prefix)));
  const lists = entries.map(({ name, isDirectory }) =>
    isDirectory ? tree(folder, `${prefix}${name}/`) : [`${prefix}${name}`]
  );
  return (await Promise.all(lists)).flat().sort();
}

export async function checkWhole({ folder }: PulledModel, repo: FakeRepo): Promise<void> {
  deepStrictEqual(await Deno.readFile(join(folder, WEIGHTS)), repo.files.get(WEIGHTS));
  using checkpoint = await openCheckpoint(folder);
  equal(checkpoint.architecture, "gpt_bigcode");
}

/** Nothing that `serve` would find. */
export async function checkNotThere({ cacheDir }: Bench): Promise<void> {
  equal(await (await RepoCache.of(NAME.repo, cacheDir)).find("main"), undefined);
}
