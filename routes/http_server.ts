// A fetch handler over HTTP/1.1. Rests on node:http, not on Deno.serve: that one reads nothing more of a connection once
// a body has come in more than one packet, so it never sees its client leave before the reply begins (Deno 2.9), and
// what nobody waits for would be computed to its end. Knows requests and responses, and nothing of what they hold.
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { isStreamType } from "./reply_stream.ts";

/** What a connection tells that its request does not. */
export interface ConnectionFacts {
  readonly remoteAddress?: string;
}

export type FetchHandler = (request: Request, facts: ConnectionFacts) => Response | Promise<Response>;

/** Longer than clients keep idle connections in their pools: who closes first must not be the one who is asked next. */
const KEEP_ALIVE_MS = 75_000;

export class HttpServer implements AsyncDisposable {
  readonly #server: Server;
  /** Resolves when the server has closed and its last connection with it. */
  readonly finished: Promise<void>;

  /** `server` listens. */
  private constructor(server: Server) {
    this.#server = server;
    this.finished = new Promise((resolve) => server.once("close", resolve));
  }

  /**
   * Listens; port 0 takes a free one.
   * @throws {Error} with the system's `code`, "EADDRINUSE" where the port is taken
   */
  static async listen(
    fetch: FetchHandler,
    { hostname, port }: { readonly hostname: string; readonly port: number },
  ): Promise<HttpServer> {
    const server = createServer((incoming, outgoing) => void answer(fetch, incoming, outgoing));
    server.keepAliveTimeout = KEEP_ALIVE_MS;
    server.listen(port, hostname);
    await once(server, "listening");
    return new HttpServer(server);
  }

  get hostname(): string {
    return (this.#server.address() as AddressInfo).address;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Takes no more connections, closes the idle ones, and waits for the replies under way. */
  async shutdown(): Promise<void> {
    this.#server.close();
    this.#server.closeIdleConnections();
    await this.finished;
  }

  /** As `shutdown`, and cuts off the replies under way. */
  cut(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }
}

async function answer(fetch: FetchHandler, incoming: IncomingMessage, outgoing: ServerResponse) {
  const left = new AbortController();
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) left.abort(new DOMException("The client has left", "AbortError"));
  });
  // A connection that breaks is a client that leaves.
  for (const end of [incoming, outgoing]) end.on("error", () => {});
  const request = toRequest(incoming, left.signal);
  try {
    const { remoteAddress } = incoming.socket;
    const facts = remoteAddress === undefined ? {} : { remoteAddress };
    if (request) await send(await fetch(request, facts), incoming, outgoing, left.signal);
    else outgoing.writeHead(400, { Connection: "close" }).end();
  } catch (error) {
    if (!left.signal.aborted) console.error(`${incoming.method} ${incoming.url} failed:`, error);
    outgoing.destroy();
  }
}

/** Undefined for what HTTP allows and a Request does not, such as the method TRACE. */
function toRequest(incoming: IncomingMessage, signal: AbortSignal): Request | undefined {
  const { method = "GET", url = "/", rawHeaders } = incoming;
  try {
    const headers = new Headers();
    for (let i = 0; i < rawHeaders.length; i += 2) headers.append(rawHeaders[i], rawHeaders[i + 1]);
    const body = method === "GET" || method === "HEAD" ? null : bodyOf(incoming);
    // The host that a client names is of no use here, and need not be one.
    return new Request(url.startsWith("/") ? `http://localhost${url}` : url, {
      method,
      headers,
      body,
      signal,
    });
  } catch {
    return undefined;
  }
}

/** Reads no further than it is read; whoever stops reading can still reply. */
function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  const chunks = incoming.iterator({ destroyOnReturn: false });
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = await chunks.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
    async cancel() {
      await chunks.return?.();
    },
  }, { highWaterMark: 0 });
}

async function send(
  response: Response,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  outgoing.statusCode = response.status;
  for (const [name, value] of response.headers) outgoing.setHeader(name, value);
  // A client may send all of a body before it reads why the body is refused.
  incoming.resume();
  if (response.body && isStreamType(response.headers.get("content-type") ?? "")) {
    await sendStream(response.body, outgoing, signal);
  } else {
    outgoing.end(Buffer.from(await response.arrayBuffer()));
  }
}

/** Takes parts as fast as the client does. */
async function sendStream(body: ReadableStream<Uint8Array>, outgoing: ServerResponse, signal: AbortSignal) {
  const reader = body.getReader();
  const cancel = () => void reader.cancel().catch(() => {});
  signal.addEventListener("abort", cancel, { once: true });
  if (signal.aborted) cancel();
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    if (!outgoing.write(next.value)) await once(outgoing, "drain", { signal });
  }
  outgoing.end();
}
