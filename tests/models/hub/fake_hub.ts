// A local stand-in for the hub, which speaks its HTTP: models' information, trees in pages, files by redirects to a second
// server, ranges, etags, refusals with their codes. It can be told to fail in the ways in which networks do.
import { createHash } from "node:crypto";

export interface FakeRepo {
  readonly commit: string;
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  /** Who may read it: anybody, whoever has the token, or nobody with either. */
  readonly access?: "open" | "private" | "gated" | "closed";
}

/** What happens to one request for a file's content, or for anything of an API. */
export type Fault =
  | { readonly kind: "cut"; readonly after: number }
  | { readonly kind: "stall"; readonly after: number }
  | { readonly kind: "wrong" }
  | { readonly kind: "longer" }
  | { readonly kind: "wholeFile" }
  | { readonly kind: "otherEtag" }
  | { readonly kind: "redirectLoop" }
  | { readonly kind: "status"; readonly status: number; readonly headers?: Record<string, string> };

export interface SeenRequest {
  readonly server: "hub" | "content";
  readonly path: string;
  readonly range: string | null;
  readonly authorization: string | null;
}

/** Files from this size on are large: known by their SHA-256 and served elsewhere. */
const LARGE_FROM = 4096;
/** Entries of a tree that one answer has. */
const PAGE = 3;
export const TOKEN = "hf_test";

export class FakeHub implements AsyncDisposable {
  readonly repos = new Map<string, FakeRepo>();
  readonly seen: SeenRequest[] = [];
  /** By file path, or "api": what happens to the next requests, in order; then all is well. */
  readonly faults = new Map<string, Fault[]>();
  readonly #hub: Deno.HttpServer<Deno.NetAddr>;
  readonly #content: Deno.HttpServer<Deno.NetAddr>;
  readonly #blobs = new Map<string, { readonly path: string; readonly bytes: Uint8Array<ArrayBuffer> }>();
  readonly #stalled: ReadableStreamDefaultController[] = [];

  constructor() {
    const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
    this.#hub = Deno.serve(options, (request) => this.#answer(request));
    this.#content = Deno.serve(options, (request) => this.#sendBlob(request));
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#hub.addr.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const controller of this.#stalled) controller.error(new Error("closed"));
    await Promise.all([this.#hub.shutdown(), this.#content.shutdown()]);
  }

  #answer(request: Request): Response | Promise<Response> {
    const { pathname, searchParams } = new URL(request.url), path = decodeURIComponent(pathname);
    this.#see("hub", request);
    const api = /^\/api\/models\/(.+?)\/(revision|tree)\/([^/]+)$/.exec(path);
    if (api) {
      const fault = this.#nextFault("api");
      if (fault?.kind === "status") return new Response(null, fault);
      const [, name, kind, revision] = api, repo = this.#repoFor(name, request);
      if (repo instanceof Response) return repo;
      if (kind === "revision") return information(name, revision, repo);
      return this.#tree(repo, Number(searchParams.get("cursor") ?? 0), request.url);
    }
    const resolve = /^\/([^/]+\/[^/]+)\/resolve\/([0-9a-f]{40})\/(.+)$/.exec(path);
    if (!resolve) return new Response(null, { status: 404 });
    const repo = this.#repoFor(resolve[1], request);
    return repo instanceof Response ? repo : this.#resolve(resolve[3], repo, request);
  }

  #repoFor(name: string, request: Request): FakeRepo | Response {
    const repo = this.repos.get(name);
    const hasToken = request.headers.get("authorization") === `Bearer ${TOKEN}`;
    if (request.headers.has("authorization") && !hasToken) return refuse(401, null, "Invalid credentials");
    if (!repo || (repo.access === "private" && !hasToken)) {
      return refuse(hasToken ? 404 : 401, "RepoNotFound");
    }
    if (repo.access === "closed") return refuse(403, "GatedRepo");
    if (repo.access === "gated" && !hasToken && !request.url.includes("/api/")) {
      return refuse(401, "GatedRepo");
    }
    return repo;
  }

  /** The hub's lists come in pages, the next one in a Link header. */
  #tree({ files }: FakeRepo, cursor: number, url: string): Response {
    const entries = [...files].map(([path, bytes]) => {
      const large = bytes.length >= LARGE_FROM;
      return {
        type: "file",
        path,
        size: bytes.length,
        oid: gitId(large ? new TextEncoder().encode("a pointer") : bytes),
        ...(large && { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 9 } }),
      };
    });
    const next = new URL(url);
    next.searchParams.set("cursor", String(cursor + PAGE));
    const link = cursor + PAGE < entries.length ? { link: `<${next}>; rel="next"` } : undefined;
    return Response.json(entries.slice(cursor, cursor + PAGE), { ...(link && { headers: link }) });
  }

  #resolve(path: string, { files }: FakeRepo, request: Request): Response {
    const bytes = files.get(path);
    if (!bytes) return refuse(404, "EntryNotFound");
    const fault = this.#peekFault(path);
    if (fault?.kind === "redirectLoop") {
      return new Response(null, { status: 302, headers: { location: request.url } });
    }
    if (fault?.kind === "otherEtag") {
      this.#nextFault(path);
      return new Response(null, {
        status: 302,
        headers: { "x-linked-etag": `"${"0".repeat(64)}"`, location: "/" },
      });
    }
    if (bytes.length < LARGE_FROM) return this.#send(path, bytes, `"${gitId(bytes)}"`, request);
    const id = sha256(bytes);
    this.#blobs.set(id, { path, bytes });
    const location = `http://127.0.0.1:${this.#content.addr.port}/${id}?signature=s`;
    return new Response(null, { status: 302, headers: { location, "x-linked-etag": `"${id}"` } });
  }

  #sendBlob(request: Request): Response {
    this.#see("content", request);
    const { path, bytes } = this.#blobs.get(new URL(request.url).pathname.slice(1))!;
    return this.#send(path, bytes, '"of-the-store"', request);
  }

  #send(path: string, whole: Uint8Array<ArrayBuffer>, etag: string, request: Request): Response {
    const fault = this.#nextFault(path);
    if (fault?.kind === "status") return new Response(null, fault);
    const range = fault?.kind === "wholeFile"
      ? null
      : /^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "");
    const start = range ? Number(range[1]) : 0;
    if (start >= whole.length && start > 0) return new Response(null, { status: 416 });
    let bytes = whole.slice(start);
    if (fault?.kind === "wrong") bytes[bytes.length >> 1] ^= 1;
    if (fault?.kind === "longer") bytes = new Uint8Array([...bytes, 1, 2, 3]);
    const headers: Record<string, string> = { etag, "content-length": String(bytes.length) };
    if (range) headers["content-range"] = `bytes ${start}-${whole.length - 1}/${whole.length}`;
    const isBroken = fault?.kind === "cut" || fault?.kind === "stall";
    const body = isBroken ? this.#broken(bytes.subarray(0, fault.after), fault.kind) : bytes;
    return new Response(body, { status: range ? 206 : 200, headers });
  }

  #broken(bytes: Uint8Array<ArrayBuffer>, kind: "cut" | "stall"): ReadableStream<Uint8Array<ArrayBuffer>> {
    return new ReadableStream({
      start: async (controller) => {
        if (bytes.length > 0) controller.enqueue(bytes);
        if (kind === "stall") return void this.#stalled.push(controller);
        // What was sent is to arrive first.
        await new Promise((resolve) => setTimeout(resolve, 30));
        controller.error(new Error("cut"));
      },
    });
  }

  #see(server: SeenRequest["server"], { url, headers }: Request): void {
    const { pathname } = new URL(url);
    this.seen.push({
      server,
      path: pathname,
      range: headers.get("range"),
      authorization: headers.get("authorization"),
    });
  }

  #peekFault(path: string): Fault | undefined {
    return this.faults.get(path)?.[0];
  }

  #nextFault(path: string): Fault | undefined {
    return this.faults.get(path)?.shift();
  }
}

function information(id: string, revision: string, { commit }: FakeRepo): Response {
  if (!["main", commit].includes(revision)) return refuse(404, "RevisionNotFound");
  const lastModified = "2026-01-02T03:04:05.000Z";
  return Response.json({
    _id: "1",
    id,
    sha: commit,
    private: false,
    gated: false,
    downloads: 1,
    likes: 1,
    lastModified,
  });
}

function refuse(status: number, code: string | null, error = "refused"): Response {
  return Response.json({ error }, { status, ...(code !== null && { headers: { "x-error-code": code } }) });
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export function gitId(bytes: Uint8Array): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}
