// `serve`: the HTTP server. Listens first (a port in use is found before anything is loaded), loads the model behind
// /readyz, and leaves no half-started server when loading fails.
import { Command, InvalidArgumentError, Option } from "commander";
import config from "../deno.json" with { type: "json" };
import { bareKeys } from "../routes/api_keys.ts";
import { createApp } from "../routes/app.ts";
import { Log, LOG_LEVELS, type LogLevel } from "../routes/log.ts";
import { WorkerEngine } from "../engine/worker_engine.ts";
import { addModelOptions, engineOptions, type ModelFlags, parseWhole } from "./model_options.ts";
import { ProgressBar } from "./progress_bar.ts";

interface ServeFlags extends ModelFlags {
  readonly host: string;
  readonly port: number;
  readonly apiKey?: string[];
  readonly publicWithoutKey?: boolean;
  readonly logLevel: LogLevel;
  readonly showPrompts?: boolean;
}

/** How long requests in flight may go on after the first signal to stop. */
const DRAIN_MS = 10_000;

const EXAMPLES = `
Examples:
  deno task serve                                           the embedded model on http://127.0.0.1:8012
  deno task serve --model ~/models/starcoderbase-1b         a Hugging Face folder, on the GPU if there is one
  deno task serve --host 0.0.0.0 --api-key "$KEY"           for others in the network, with a key
  deno task serve --device dawn --kv-memory 8GB             a GPU through Dawn, 8 GB of KV cache

Try it:
  curl http://127.0.0.1:8012/v1/completions -H 'content-type: application/json' \\
    -d '{"prompt": "def add(a, b):\\n    ", "suffix": "\\n", "max_tokens": 48, "temperature": 0}'
`;

export function serveCommand(): Command {
  const command = new Command("serve")
    .description("Serve completions over HTTP: OpenAI's /v1/completions and llama.cpp's /infill")
    .option("--host <address>", "address to listen on", "127.0.0.1")
    .option("--port <n>", "port to listen on; 0 takes a free one", parsePort, 8012)
    .option(
      "--api-key <key>",
      "accept only requests with this key (may be repeated; or HYADES_API_KEY)",
      collect,
    )
    .option("--public-without-key", "listen on a public address although no API key is set")
    .addOption(
      new Option("--log-level <level>", "JSON lines on stderr; info: one for every request")
        .choices(LOG_LEVELS).default("warn"),
    )
    .option("--show-prompts", "let GET /slots?prompt=1 show prompts: everybody's, to whoever may ask");
  return addModelOptions(command).addHelpText("after", EXAMPLES)
    .action((flags: ServeFlags) => serve(flags));
}

async function serve(flags: ServeFlags): Promise<void> {
  const apiKeys = flags.apiKey ?? envKeys();
  refusePublicWithoutKey(flags, apiKeys);
  await using engine = new WorkerEngine(engineOptions(flags));
  const log = new Log({ level: flags.logLevel });
  const app = createApp(engine, {
    apiKeys: bareKeys(apiKeys),
    version: config.version,
    log,
    showPrompts: flags.showPrompts ?? false,
  });
  const stop = new AbortController(), cut = new AbortController();
  const server = listen(flags, cut.signal, app.fetch);
  stopOnSignals(server, stop, cut);
  const failure = await watchLoading(engine, stop.signal);
  if (failure) {
    cut.abort();
    throw new Error(failure);
  }
  const { hostname, port } = server.addr;
  if (!stop.signal.aborted) {
    announce(engine, log, `http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`);
  }
  await server.finished;
}

/** The first signal lets requests in flight finish, for a while; the second, or the end of that while, cuts them off. */
function stopOnSignals(server: Deno.HttpServer, stop: AbortController, cut: AbortController): void {
  const onSignal = () => {
    if (stop.signal.aborted) return cut.abort();
    stop.abort();
    server.shutdown();
    setTimeout(() => cut.abort(), DRAIN_MS).unref();
  };
  for (const name of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(name, onSignal);
}

/** Shows progress until the model is loaded; the reason when it cannot be. */
async function watchLoading(engine: WorkerEngine, signal: AbortSignal): Promise<string | undefined> {
  const bar = new ProgressBar("Loading model");
  while (engine.state.phase === "loading" && !signal.aborted) {
    bar.update(engine.state.progress);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  bar.update(1);
  return engine.state.phase === "failed" ? engine.state.reason : undefined;
}

/** Two lines for a person; where requests are logged, one for whatever reads the log. */
function announce(engine: WorkerEngine, log: Log, url: string): void {
  const { id, backend, adapter, contextLength, fim } = engine.model;
  if (log.writes("info")) return log.add("info", "listening", { url, model: id, backend, adapter });
  const infill = fim.supported ? "fill-in-the-middle" : "no fill-in-the-middle tokens";
  console.error(`Serving ${id} (${contextLength} tokens of context, ${infill}) on ${backend}: ${adapter}`);
  console.error(`Listening on ${url}  ·  API reference: ${url}/docs  ·  Ctrl-C stops`);
}

function listen(
  flags: ServeFlags,
  signal: AbortSignal,
  fetch: (request: Request) => Response | Promise<Response>,
) {
  const { host: hostname, port } = flags;
  try {
    return Deno.serve({ hostname, port, signal, onListen() {} }, (request) => fetch(request));
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      throw new Error(
        `Cannot listen on ${hostname}:${port}: the port is in use; stop that server or take --port`,
      );
    }
    throw new Error(
      `Cannot listen on ${hostname}:${port}: ${error instanceof Error ? error.message : error}`,
    );
  }
}

function refusePublicWithoutKey(flags: ServeFlags, apiKeys: readonly string[]): void {
  if (apiKeys.length > 0 || flags.publicWithoutKey || isLoopback(flags.host)) return;
  throw new Error(
    `Cannot listen on ${flags.host}: it is reachable from other machines and no API key is set; ` +
      `add --api-key KEY, or say --public-without-key if that is what you want`,
  );
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

function envKeys(): string[] {
  const key = Deno.env.get("HYADES_API_KEY");
  return key ? [key] : [];
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

function parsePort(text: string): number {
  const port = parseWhole(text);
  if (port > 65535) throw new InvalidArgumentError("must be a port, 0 to 65535");
  return port;
}
