// What the hub knows a file's content by: the SHA-256 of large files, git's own SHA-1 of small ones.
import { createHash, type Hash } from "node:crypto";
import type { HubFile } from "./hub_library.ts";

/** The name of a file's content, which is also its name among the cache's blobs. */
export function contentId(file: HubFile): string | undefined {
  return file.lfs?.oid ?? file.oid;
}

export class Checksum {
  readonly #hash: Hash;

  /** @param file whose size git's form needs beforehand */
  constructor(file: HubFile) {
    this.#hash = createHash(file.lfs ? "sha256" : "sha1");
    if (!file.lfs) this.#hash.update(`blob ${file.size}\0`);
  }

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  /** Hexadecimal; nothing may be added afterwards. */
  digest(): string {
    return this.#hash.digest("hex");
  }
}
