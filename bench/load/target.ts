// The servers that a load is put on: started here with given flags, or found at an address.
import { type Dialect, dialectOf, type DialectOptions } from "./dialect.ts";
import type { Endpoint } from "./client.ts";
import { pause } from "./counter_sampler.ts";
import { OwnServer } from "./own_server.ts";

export interface TargetOptions {
  /** Flags of `serve`, one server each. */
  readonly serve: readonly string[];
  readonly urls: readonly string[];
  readonly allowRemote: boolean;
  readonly apiKey?: string;
  readonly dialect: DialectOptions;
}

/** How to come by a server; each opening of one of ours starts it anew, with an empty cache. */
export interface TargetSpec {
  readonly label: string;
  open(): Promise<Target>;
}

export interface Target extends AsyncDisposable {
  readonly label: string;
  readonly endpoint: Endpoint;
  /** Known of our own servers only. */
  readonly errors: () => readonly string[];
}

/** @throws {RangeError} an address is another machine's, and that was not allowed */
export function targetSpecs(options: TargetOptions): TargetSpec[] {
  const { serve, urls, allowRemote, apiKey } = options;
  for (const url of urls) if (!allowRemote) requireLoopback(url);
  const dialect = dialectOf(options.dialect);
  const headers = apiKey === undefined ? {} : { Authorization: `Bearer ${apiKey}` };
  const flags = serve.length === 0 && urls.length === 0 ? [""] : serve;
  return [
    ...flags.map((flags) => {
      const label = `serve ${flags}`.trim();
      return { label, open: () => openOwn(label, flags, dialect, headers) };
    }),
    ...urls.map((url) => ({
      label: url,
      open: () => Promise.resolve(found(url, { url: url.replace(/\/+$/, ""), dialect, headers })),
    })),
  ];
}

/** @throws {RangeError} */
export function requireLoopback(url: string): void {
  const host = URL.parse(url)?.hostname;
  if (host === undefined) throw new RangeError(`Cannot put a load on "${url}": it is no address`);
  if (host === "localhost" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host)) return;
  throw new RangeError(
    `Cannot put a load on ${host}: it is another machine; say --allow-remote if it is yours`,
  );
}

async function openOwn(
  label: string,
  flags: string,
  dialect: Dialect,
  headers: Endpoint["headers"],
): Promise<Target> {
  const server = await OwnServer.start(flags);
  return {
    label,
    endpoint: { url: server.url, dialect, headers },
    errors: () => server.errors,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

function found(label: string, endpoint: Endpoint): Target {
  return { label, endpoint, errors: () => [], [Symbol.asyncDispose]: () => pause(0) };
}
