// GET / for browsers: the playground's page and its files, as they lie in a folder; other clients are left to whoever
// answers next. Files are read when they are first asked for, so a server whose page nobody opens never reads them. Knows
// nothing of what the page does.
import { createHash } from "node:crypto";
import { Hono } from "hono";

/** By name under /playground/: where a file lies in the folder, and what it is. */
const FILES: Readonly<Record<string, { readonly path: string; readonly type: string }>> = {
  "playground.js": { path: "dist/playground.js", type: "text/javascript; charset=utf-8" },
  "licences.txt": { path: "dist/licences.txt", type: "text/plain; charset=utf-8" },
  "style.css": { path: "style.css", type: "text/css; charset=utf-8" },
  "icon.svg": { path: "icon.svg", type: "image/svg+xml" },
};
const PAGE = "page.html";

interface StoredFile {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly gzipped: Uint8Array<ArrayBuffer>;
  readonly etag: string;
}

/** @param folder of the playground's files, as `clients/playground` */
export function playground(folder: URL): Hono {
  const app = new Hono(), stored = new Map<string, Promise<StoredFile>>();
  let page: Promise<string> | undefined;
  app.get("/", async (c, next) => {
    if (!c.req.header("accept")?.includes("text/html")) return await next();
    page ??= Deno.readTextFile(new URL(PAGE, folder));
    const nonce = createNonce();
    return c.html((await page).replaceAll("{{nonce}}", nonce), 200, {
      "Content-Security-Policy": policy(nonce),
      "Cache-Control": "no-store", // A nonce is for one reply.
      "Referrer-Policy": "no-referrer",
      Vary: "Accept",
      "X-Content-Type-Options": "nosniff",
    });
  });
  app.get("/playground/:name", async (c, next) => {
    const name = c.req.param("name");
    if (!Object.hasOwn(FILES, name)) return await next();
    const { path, type } = FILES[name]!;
    const file = stored.get(name) ?? readStored(new URL(path, folder));
    stored.set(name, file);
    const { bytes, gzipped, etag } = await file;
    const headers = { "Cache-Control": "no-cache", ETag: etag, Vary: "Accept-Encoding" };
    if (c.req.header("if-none-match") === etag) return c.body(null, 304, headers);
    const zip = /\bgzip\b/.test(c.req.header("accept-encoding") ?? "");
    return c.body(zip ? gzipped : bytes, 200, {
      ...headers,
      "Content-Type": type,
      "X-Content-Type-Options": "nosniff",
      ...(zip && { "Content-Encoding": "gzip" }),
    });
  });
  return app;
}

async function readStored(url: URL): Promise<StoredFile> {
  const bytes = await Deno.readFile(url);
  const zipping = new Response(bytes).body!.pipeThrough(new CompressionStream("gzip"));
  const gzipped = new Uint8Array(await new Response(zipping).arrayBuffer());
  // Weak: the bytes differ with the encoding.
  const etag = `W/"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"`;
  return { bytes, gzipped, etag };
}

function createNonce(): string {
  return crypto.getRandomValues(new Uint8Array(16)).toBase64();
}

/** The page talks to this server alone; scripts and styles are this server's, or what carries the reply's nonce. */
function policy(nonce: string): string {
  return `default-src 'none'; script-src 'self' 'nonce-${nonce}'; style-src 'self' 'nonce-${nonce}'; ` +
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
    "require-trusted-types-for 'script'";
}
