// `serve`: the HTTP server. Listens first (a port in use is found before anything is loaded), loads the model behind
// /readyz, and leaves no half-started server when loading fails.
import { Command } from "commander";
import { format } from "std/fmt/bytes.js";
import config from "../deno.json" with { type: "json" };
import type { Engine } from "../engine/engine.ts";
import { type ModelChoice, SingleModel } from "../engine/model_choice.ts";
import { WorkerEngine } from "../engine/worker_engine.ts";
import { createApp } from "../routes/app.ts";
import { Drain } from "../routes/drain.ts";
import { type FetchHandler, HttpServer } from "../routes/http_server.ts";
import { Log } from "../routes/log.ts";
import { findModel } from "./find_model.ts";
import { describeLongConvolutions } from "./long_convolutions.ts";
import { addModelOptions, engineOptions, type ModelFlags } from "./model_options.ts";
import { ProgressBar } from "./progress_bar.ts";
import { addServeOptions, deadlinesOf, readApiKeys, type ServeFlags } from "./serve_options.ts";
import { openPool } from "./several_models.ts";
import { firstStopSignal, shutDown } from "./shutdown.ts";

/** Served to browsers at `/`. */
const PLAYGROUND = new URL("../clients/playground/", import.meta.url);

const EXAMPLES = `
Examples:
  deno task serve                                           the embedded model on http://127.0.0.1:8012
  deno task serve --model ~/models/starcoderbase-1b         a Hugging Face folder, on the GPU if there is one
  deno task serve --host 0.0.0.0 --api-key "$KEY"           for others in the network, with a key
  deno task serve --host 0.0.0.0 --api-keys keys.txt        several keys, each with a name and limits of its own
  deno task serve --also bigcode/starcoder2-3b              two models, the second loaded when a request names it
  deno task serve --device dawn --kv-memory 8GB             a GPU through Dawn, 8 GB of KV cache

Try it:
  curl http://127.0.0.1:8012/v1/completions -H 'content-type: application/json' \\
    -d '{"prompt": "def add(a, b):\\n    return ", "suffix": "\\n", "max_tokens": 48, "temperature": 0, "clean": true}'
`;

export function serveCommand(): Command {
  const command = new Command("serve")
    .description("Serve completions over HTTP to clients of OpenAI, llama.cpp, TGI, Ollama and Tabby");
  return addModelOptions(addServeOptions(command)).addHelpText("after", EXAMPLES)
    .action((flags: ServeFlags & ModelFlags) => serve(flags));
}

async function serve(flags: ServeFlags & ModelFlags): Promise<void> {
  const apiKeys = readApiKeys(flags);
  refusePublicWithoutKey(flags, apiKeys.length);
  const log = new Log({ level: flags.logLevel });
  await using models = await openModels(flags, log);
  const { primary: engine } = models;
  const drain = new Drain();
  const app = createApp(models, {
    apiKeys,
    version: config.version,
    log,
    drain,
    showPrompts: flags.showPrompts ?? false,
    corsOrigins: flags.corsOrigin ?? [],
    bodyLimitBytes: flags.maxBody,
    deadlines: deadlinesOf(flags),
    playgroundFolder: PLAYGROUND,
  });
  const server = await listen(flags, app.fetch);
  const stopped = firstStopSignal().then(() => {
    sayStopping(drain, log, flags);
    return shutDown({
      drain,
      server,
      log,
      closeEngine: async () => await models[Symbol.asyncDispose](),
      timeoutMs: flags.shutdownTimeout * 1000,
    });
  });
  const failure = await watchLoading(engine, drain);
  if (failure) {
    server.cut();
    throw new Error(failure);
  }
  const { hostname, port } = server;
  if (!drain.draining) {
    announce(engine, log, flags, `http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`);
  }
  await stopped;
  Deno.exit(0);
}

/** One model as ever, or several in a pool. */
async function openModels(flags: ServeFlags & ModelFlags, log: Log): Promise<ModelChoice & AsyncDisposable> {
  const { model, also = [], modelId, modelsMemory: memoryBytes } = flags;
  if (also.length > 0) {
    if (modelId !== undefined) {
      throw new Error("Cannot serve several models under one --model-id: leave it out");
    }
    return await openPool(flags, { models: [model, ...also], memoryBytes, log });
  }
  if (memoryBytes !== undefined) {
    throw new Error("--models-memory is for several models: name others by --also");
  }
  return new SingleModel(new WorkerEngine(engineOptions(flags, await findModel(model))));
}

/** Shows progress until the model is loaded; the reason when it cannot be. */
async function watchLoading(engine: Engine, drain: Drain): Promise<string | undefined> {
  const bar = new ProgressBar("Loading model");
  while (engine.state.phase === "loading" && !drain.draining) {
    bar.update(engine.state.progress);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  bar.update(1);
  return engine.state.phase === "failed" ? engine.state.reason : undefined;
}

/** Two lines for a person, one more where layers are recurrent; where requests are logged, one for whatever reads the log. */
function announce(engine: Engine, log: Log, { device }: ModelFlags, url: string): void {
  const { id, backend, adapter, contextLength, fim, states, longConvolutions } = engine.model;
  if (log.writes("info")) {
    const slots = states && { stateSlots: states.numSlots, stateBytes: states.bytes };
    const summed = longConvolutions && { longConvolutions };
    return log.add("info", "listening", { url, model: id, backend, adapter, ...slots, ...summed });
  }
  const infill = fim.supported ? "fill-in-the-middle" : "no fill-in-the-middle tokens";
  const instead = device === "auto" && backend === "cpu" ? " (no GPU found: deno task doctor says more)" : "";
  console.error(
    `Serving ${id} (${contextLength} tokens of context, ${infill}) on ${backend}: ${adapter}${instead}`,
  );
  if (states) {
    const size = format(states.bytes, { binary: true });
    console.error(
      `Recurrent layers keep ${size} of a sequence; there is room for ${states.numSlots} of these, ` +
        "for who runs and for who goes on from them (docs/hyena_h3.md)",
    );
  }
  if (longConvolutions) {
    const how = describeLongConvolutions(longConvolutions);
    console.error(`Long convolutions are ${how}, for ${contextLength} tokens of context (docs/hyena_h3.md)`);
  }
  console.error(`Listening on ${url}  ·  Open it in a browser, or see ${url}/docs  ·  Ctrl-C stops`);
}

/** For a person, who would take the wait for a hang. */
function sayStopping({ working }: Drain, log: Log, { shutdownTimeout }: ServeFlags): void {
  if (working === 0 || log.writes("info")) return;
  const requests = working === 1 ? "1 request has" : `${working} requests have`;
  console.error(`Stopping: ${requests} up to ${shutdownTimeout} s to finish  ·  Ctrl-C again ends it now`);
}

async function listen({ host: hostname, port }: ServeFlags, fetch: FetchHandler): Promise<HttpServer> {
  try {
    return await HttpServer.listen(fetch, { hostname, port });
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    throw new Error(`Cannot listen on ${hostname}:${port}: ${LISTEN_FAULTS[code ?? ""] ?? message}`);
  }
}

const NO_ADDRESS = "this machine has no such address; take --host";

const LISTEN_FAULTS: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use; stop that server or take --port",
  EACCES: "this port needs privileges; take --port above 1023",
  EADDRNOTAVAIL: NO_ADDRESS,
  // Deno's node:net says so of an address that is another machine's.
  EINVAL: NO_ADDRESS,
  ENOTFOUND: NO_ADDRESS,
};

function refusePublicWithoutKey(flags: ServeFlags, numKeys: number): void {
  if (numKeys > 0 || flags.publicWithoutKey || isLoopback(flags.host)) return;
  throw new Error(
    `Cannot listen on ${flags.host}: it is reachable from other machines and no API key is set; ` +
      `add --api-key KEY, or say --public-without-key if that is what you want`,
  );
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}
