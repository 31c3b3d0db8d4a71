// The servers that a load is put on: this repository's and others, started here, or found at an address.
import { type Dialect, dialectOf, type DialectOptions } from "./dialect.ts";
import type { Endpoint } from "./client.ts";
import { pause } from "./counter_sampler.ts";
import { ServerProcess } from "./server_process.ts";

export interface TargetOptions {
  /** Flags of `serve`, one server each. */
  readonly serve: readonly string[];
  /** Command lines of other servers. */
  readonly commands: readonly string[];
  readonly urls: readonly string[];
  /** What reports call the servers, in the order above; flags, command or address where there is none. */
  readonly names: readonly string[];
  readonly allowRemote: boolean;
  readonly apiKey?: string;
  readonly dialect: DialectOptions;
}

/** Any answer will do, also that there is no such route. */
const ANSWER_TIMEOUT_MS = 5_000;

/** How to come by a server; each opening of one that is started here starts it anew, with an empty cache. */
export interface TargetSpec {
  readonly label: string;
  /** @param clients to be served at once, for servers that must know */
  open(clients: number): Promise<Target>;
}

export interface Target extends AsyncDisposable {
  readonly label: string;
  readonly endpoint: Endpoint;
  /** Known of our own servers only. */
  readonly errors: () => readonly string[];
}

/** @throws {RangeError} an address is another machine's, and that was not allowed */
export function targetSpecs(options: TargetOptions): TargetSpec[] {
  const { serve, commands, urls, names, allowRemote, apiKey } = options;
  for (const url of urls) if (!allowRemote) requireLoopback(url);
  const dialect = dialectOf(options.dialect);
  const headers = apiKey === undefined ? {} : { Authorization: `Bearer ${apiKey}` };
  const flags = serve.length + commands.length + urls.length === 0 ? [""] : serve;
  const specs: TargetSpec[] = [
    ...flags.map((flags) => {
      const label = `serve ${flags}`.trim();
      return {
        label,
        open: async () => started(label, await ServerProcess.startOwn(flags), dialect, headers),
      };
    }),
    ...commands.map((command) => ({
      label: command,
      open: async (clients: number) =>
        started(command, await ServerProcess.startCommand(command, clients), dialect, headers),
    })),
    ...urls.map((url) => ({
      label: url,
      open: () => Promise.resolve(found(url, { url: url.replace(/\/+$/, ""), dialect, headers })),
    })),
  ];
  return specs.map((spec, i) => names[i] === undefined ? spec : renamed(spec, names[i]));
}

function renamed({ open }: TargetSpec, label: string): TargetSpec {
  return { label, open: async (clients) => ({ ...await open(clients), label }) };
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

/** @throws {Error} nothing speaks HTTP at the address */
export async function requireAnswer(url: string): Promise<void> {
  try {
    const reply = await fetch(url, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    await reply.body?.cancel();
  } catch {
    throw new Error(
      `Cannot put a load on ${url}: no server answers there; start it first, or say another --url`,
    );
  }
}

function started(
  label: string,
  server: ServerProcess,
  dialect: Dialect,
  headers: Endpoint["headers"],
): Target {
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
