// @huggingface/hub, loaded when it is first needed: what a repository has, and how Hugging Face's programs lay out what
// they downloaded, which is one cache for all of them.

/** Not a literal where it is imported, so that only those who pull download its 6 MB. */
const HUB_LIBRARY = "npm:@huggingface/hub@2.17.5";

/** A file of a repository. */
export interface HubFile {
  readonly type: "file" | "directory" | "unknown";
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Git's SHA-1 of a small file as a blob; of a large one, of the pointer to it. */
  readonly oid?: string;
  /** A large file's SHA-256. */
  readonly lfs?: { readonly oid: string };
}

export interface CachedRevision {
  readonly commitOid: string;
  readonly path: string;
  readonly size: number;
  readonly refs: readonly string[];
  readonly files: readonly { readonly path: string }[];
}

export interface CachedRepo {
  readonly id: { readonly name: string; readonly type: string };
  readonly path: string;
  readonly size: number;
  readonly revisions: readonly CachedRevision[];
  readonly lastModifiedAt: Date;
}

interface HubRequest {
  readonly hubUrl: string;
  readonly accessToken?: string;
  readonly revision: string;
  readonly fetch: typeof fetch;
}

/** What of the library is used. */
export interface HubLibrary {
  modelInfo(
    request: HubRequest & { readonly name: string; readonly additionalFields: readonly ["sha"] },
  ): Promise<{ readonly sha: string }>;
  listFiles(
    request: HubRequest & { readonly repo: string; readonly recursive: true },
  ): AsyncIterable<HubFile>;
  /** Of the environment: HF_HUB_CACHE, HF_HOME, else ~/.cache/huggingface/hub. */
  getHFHubCachePath(): string;
  getRepoFolderName(id: { readonly name: string; readonly type: "model" }): string;
  scanCacheDir(
    cacheDir: string,
  ): Promise<{ readonly repos: readonly CachedRepo[]; readonly warnings: readonly Error[] }>;
}

/** @throws {Error} saying how to get it, where there is no network and it was never loaded */
export async function hubLibrary(): Promise<HubLibrary> {
  try {
    return await import(HUB_LIBRARY);
  } catch (cause) {
    throw new Error(
      `Cannot load ${HUB_LIBRARY}: ${cause instanceof Error ? cause.message : cause}; ` +
        `fetch it once, where there is a network: deno cache ${HUB_LIBRARY}`,
      { cause },
    );
  }
}
