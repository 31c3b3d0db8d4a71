// Brings a model from a Hugging Face compatible hub into the cache: asks what there is, downloads what serving needs and is
// not there yet, checks it, and only then makes it known.
import { join } from "std/path/mod.js";
import { contentId } from "./checksum.ts";
import type { HubAccess } from "./hub_access.ts";
import { RepoCache, type RepoName } from "./hub_cache.ts";
import { HubError, refusal } from "./hub_errors.ts";
import { type HubFile, hubLibrary } from "./hub_library.ts";
import { isIndex, neededFiles, shardsOf } from "./needed_files.ts";
import { downloadFile, type DownloadOptions, retryAfterMs } from "./ranged_download.ts";

export interface PullOptions extends Pick<DownloadOptions, "onWait" | "maxAttempts" | "pauseMs" | "stallMs"> {
  readonly access: HubAccess;
  /** Folder of the cache; undefined: as the environment says. */
  readonly cacheDir?: string;
  /** Part of the name of the GGUF file that is wanted. */
  readonly gguf?: string;
  /** Bytes that are there and bytes of all, both of this pull's files. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface PulledModel {
  readonly commit: string;
  /** Folder of the snapshot. */
  readonly folder: string;
  readonly files: readonly HubFile[];
  /** Bytes that came over the network. */
  readonly downloaded: number;
}

/**
 * @throws {HubError} saying what the hub refuses, or what the repository lacks
 */
export async function pullModel({ repo, revision }: RepoName, options: PullOptions): Promise<PulledModel> {
  const { access } = options, library = await hubLibrary();
  const request = {
    hubUrl: access.endpoint,
    ...(access.token && { accessToken: access.token }),
    fetch: patientFetch(repo, options),
  };
  const { sha: commit } = await library.modelInfo({
    ...request,
    name: repo,
    revision,
    additionalFields: ["sha"],
  });
  if (!/^[0-9a-f]{40}$/.test(commit ?? "")) {
    throw new HubError(`Cannot pull ${repo}: ${access.endpoint} names no commit for it; is it a hub?`);
  }
  const listed: HubFile[] = [];
  for await (const file of library.listFiles({ ...request, repo, revision: commit, recursive: true })) {
    if (file.type === "file") listed.push(file);
  }
  return await pullFiles({ repo, revision }, commit, listed, options);
}

async function pullFiles(
  { repo, revision }: RepoName,
  commit: string,
  listed: readonly HubFile[],
  options: PullOptions,
): Promise<PulledModel> {
  const cache = await RepoCache.of(repo, options.cacheDir), progress = new Progress(options.onProgress);
  const first = neededFiles(repo, listed, options.gguf);
  const index = first.find(isIndex);
  let files = first, downloaded = 0;
  const fetchAll = async (wanted: readonly HubFile[]) => {
    for (const file of wanted) {
      downloaded += await fetchBlob(file, cache, { ...options, repo, commit }, progress);
      await cache.place(requireId(repo, file), commit, file.path);
    }
  };
  // What the index names is known once it is there; it is small.
  if (index) {
    await fetchAll([index]);
    files = [
      ...first,
      ...shardsOf(repo, listed, await Deno.readTextFile(cache.file(commit, index.path))),
    ];
  }
  for (const { path } of files) cache.file(commit, path);
  progress.expect(files);
  // Known before anything is timed: what was there has not come over the network.
  for (const file of files) if (await isThere(file, cache, repo)) progress.update(file, file.size);
  await fetchAll(files.filter((file) => file !== index));
  await cache.setRef(revision, commit);
  return { commit, folder: cache.snapshot(commit), files, downloaded };
}

/** Bytes that came over the network: 0 where the content is there already. */
async function fetchBlob(
  file: HubFile,
  cache: RepoCache,
  options: DownloadOptions,
  progress: Progress,
): Promise<number> {
  if (await isThere(file, cache, options.repo)) return 0;
  const blob = cache.blob(requireId(options.repo, file));
  await Deno.mkdir(join(cache.folder, "blobs"), { recursive: true });
  let first: number | undefined;
  await downloadFile(file, blob, {
    ...options,
    onBytes: (bytes) => {
      first ??= bytes;
      progress.update(file, bytes);
    },
  });
  return file.size - (first ?? 0);
}

async function isThere(file: HubFile, cache: RepoCache, repo: string): Promise<boolean> {
  const blob = cache.blob(requireId(repo, file));
  return (await Deno.stat(blob).catch(() => undefined))?.size === file.size;
}

/** A hub that lists files without checksums cannot be trusted with them; names that are none would leave the cache. */
function requireId(repo: string, file: HubFile): string {
  const id = contentId(file);
  if (id !== undefined && /^[0-9a-f]{40,64}$/.test(id)) return id;
  throw new HubError(`Cannot pull ${file.path} of ${repo}: the hub lists no checksum for it`);
}

class Progress {
  readonly #done = new Map<string, number>();
  readonly #report: PullOptions["onProgress"];
  #total = 0;

  constructor(report: PullOptions["onProgress"]) {
    this.#report = report;
  }

  expect(files: readonly HubFile[]): void {
    this.#total = files.reduce((sum, { size }) => sum + size, 0);
  }

  update({ path }: HubFile, bytes: number): void {
    this.#done.set(path, bytes);
    if (this.#total > 0) this.#report?.([...this.#done.values()].reduce((a, b) => a + b), this.#total);
  }
}

/** As often is it tried to reach a hub that has not answered yet: most often there is no network, or the address is wrong. */
const FIRST_ATTEMPTS = 3;

/** The library's requests: tried again as downloads are, refusals said as theirs. */
function patientFetch(
  repo: string,
  { access, maxAttempts = 6, pauseMs = 1000, onWait }: PullOptions,
): typeof fetch {
  let hasAnswered = false;
  return async (input, init) => {
    for (let failures = 1;; failures++) {
      const outcome = await fetch(input, init).catch((error: unknown) => error);
      hasAnswered ||= outcome instanceof Response;
      const isLast = failures >= (hasAnswered ? maxAttempts : Math.min(FIRST_ATTEMPTS, maxAttempts));
      let reason: string, waitMs = pauseMs * 2 ** (failures - 1);
      if (outcome instanceof Response) {
        const { status, headers } = outcome;
        if (outcome.ok) return outcome;
        await outcome.body?.cancel();
        if (isLast || (status !== 429 && status < 500)) {
          throw refusal(repo, repo, status, headers.get("x-error-code"), access);
        }
        reason = `the hub answers ${status}`;
        waitMs = retryAfterMs(headers.get("retry-after")) ?? waitMs;
      } else {
        if (outcome instanceof Deno.errors.NotCapable) throw outcome;
        reason = `no connection to ${access.endpoint} (${
          outcome instanceof Error ? outcome.message : outcome
        })`;
        if (isLast) {
          throw new HubError(
            `Cannot pull ${repo}: ${reason}; what was pulled before is served without a network`,
          );
        }
      }
      onWait?.(`${reason}; trying again in ${Math.ceil(waitMs / 1000)} s`);
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  };
}
