// The language server as a process: between an editor at stdin and stdout, and a completion server. The one place where
// the language server meets an engine.
import process from "node:process";
import config from "../deno.json" with { type: "json" };
import { WorkerEngine } from "../engine/worker_engine.ts";
import { LanguageServer } from "../clients/lsp/language_server.ts";
import { connectStreams } from "../clients/lsp/stdio.ts";
import { createApp } from "../routes/app.ts";
import { CompletionFetch, type OwnServer } from "./completion_fetch.ts";
import { type LspFlags, USUAL_SERVER } from "./lsp.ts";
import { findModel } from "./find_model.ts";
import { engineOptions, type ModelFlags } from "./model_options.ts";

/** Serves the editor at the other end of stdin and stdout, and ends with it. */
export async function serveEditor(flags: LspFlags): Promise<void> {
  // stdout is the editor's: whatever is printed goes to stderr.
  console.log = console.info = console.debug = console.error;
  const baseUrl = flags.server || USUAL_SERVER;
  const source = flags.server === false
    ? new CompletionFetch({ startOwn: () => ownServer(flags) })
    : new CompletionFetch({ baseUrl, ...(!flags.server && { startOwn: () => ownServer(flags) }) });
  const { connection, ended } = connectStreams(process.stdin, process.stdout);
  new LanguageServer(connection, {
    fetch: source.fetch,
    baseUrl,
    apiKey: flags.apiKey ?? Deno.env.get("HYADES_API_KEY"),
    place: () => source.place,
    version: config.version,
  });
  connection.listen();
  const code = await ended;
  await source[Symbol.asyncDispose]();
  Deno.exit(code);
}

/** The server's application over an engine in this process: the same requests, without a network. */
function ownServer(flags: ModelFlags): OwnServer {
  const opening = openOwn(flags);
  opening.catch(() => {}); // Every request tells.
  return {
    fetch: async (request) => await (await opening).app.fetch(request),
    [Symbol.asyncDispose]: async () => {
      const own = await opening.catch(() => undefined);
      await own?.engine[Symbol.asyncDispose]();
    },
  };
}

async function openOwn(flags: ModelFlags) {
  const engine = new WorkerEngine(engineOptions(flags, await findModel(flags.model)));
  return { engine, app: createApp(engine, { apiKeys: [], version: config.version }) };
}
