// What was pulled, in the cache that all of Hugging Face's programs share:
//   models--ORG--NAME/blobs/ID             content, by its checksum
//   models--ORG--NAME/snapshots/COMMIT/…   the repository's files, links to blobs
//   models--ORG--NAME/refs/REVISION        the commit that a branch or tag was at
// No network.
import { dirname, join, relative } from "std/path/mod.js";
import { HubError } from "./hub_errors.ts";
import { type CachedRepo, hubLibrary } from "./hub_library.ts";

/** Without a revision it is the hub's "main". */
export interface RepoName {
  readonly repo: string;
  readonly revision: string;
}

const NAME = /^([A-Za-z0-9][\w.-]*\/)?[A-Za-z0-9][\w.-]*$/;

/** "org/name" or "org/name@revision"; undefined where it can be no repository's. */
export function parseRepoName(text: string): RepoName | undefined {
  const [repo, revision = "main", ...rest] = text.split("@");
  const fits = NAME.test(repo) && !repo.includes("..") && !repo.includes("--") && rest.length === 0 &&
    isRevision(revision);
  return fits ? { repo, revision } : undefined;
}

/** Branch names have slashes, but must not lead out of the cache. */
function isRevision(revision: string): boolean {
  return /^[\w][\w./-]*$/.test(revision) && !revision.split("/").some((part) => part === ".." || part === "");
}

/** A repository's folder in the cache. */
export class RepoCache {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** @param cacheDir undefined: as the environment says */
  static async of(repo: string, cacheDir?: string): Promise<RepoCache> {
    const library = await hubLibrary();
    const folder = library.getRepoFolderName({ name: repo, type: "model" });
    return new RepoCache(join(cacheDir ?? library.getHFHubCachePath(), folder));
  }

  blob(id: string): string {
    return join(this.folder, "blobs", id);
  }

  snapshot(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  /** The snapshot of a revision, by its name or its commit; undefined where it was not pulled. */
  async find(revision: string): Promise<string | undefined> {
    const named = await Deno.readTextFile(this.#ref(revision)).catch(() => undefined);
    const snapshot = this.snapshot(named?.trim() ?? revision);
    return (await Deno.stat(snapshot).catch(() => undefined))?.isDirectory ? snapshot : undefined;
  }

  /**
   * Path of a file of a snapshot.
   * @throws {HubError} when its path in the repository, which the hub gives, would lead out of the snapshot
   */
  file(commit: string, path: string): string {
    if (path.split(/[\\/]/).some((part) => part === ".." || part === "")) {
      throw new HubError(`Cannot pull "${path}": it would lie outside of the model's folder`);
    }
    return join(this.snapshot(commit), path);
  }

  /** Makes a blob a file of a snapshot: a link or, where the system allows none, the content itself. */
  async place(id: string, commit: string, path: string): Promise<void> {
    const target = this.file(commit, path), blob = this.blob(id);
    await Deno.mkdir(dirname(target), { recursive: true });
    await Deno.remove(target).catch(() => {});
    await Deno.symlink(relative(dirname(target), blob), target).catch(() => Deno.copyFile(blob, target));
  }

  /** Only now do others find it. */
  async setRef(revision: string, commit: string): Promise<void> {
    const ref = this.#ref(revision), written = `${ref}.new`;
    await Deno.mkdir(dirname(ref), { recursive: true });
    await Deno.writeTextFile(written, commit);
    await Deno.rename(written, ref);
  }

  #ref(revision: string): string {
    return join(this.folder, "refs", ...revision.split("/"));
  }
}

/** Everything in the cache that is a model, and what could not be read of it. */
export async function pulledModels(): Promise<{ models: readonly CachedRepo[]; warnings: readonly Error[] }> {
  const library = await hubLibrary(), cache = library.getHFHubCachePath();
  if (!await Deno.stat(cache).catch(() => undefined)) return { models: [], warnings: [] };
  const { repos, warnings } = await library.scanCacheDir(cache);
  return { models: repos.filter(({ id }) => id.type === "model"), warnings };
}
