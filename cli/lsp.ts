// `lsp`: the language server over stdin and stdout, which editors start. The one place where it meets an engine.
import { Command, InvalidArgumentError } from "commander";
import process from "node:process";
import config from "../deno.json" with { type: "json" };
import { WorkerEngine } from "../engine/worker_engine.ts";
import { LanguageServer } from "../lsp/language_server.ts";
import { connectStreams } from "../lsp/stdio.ts";
import { createApp } from "../routes/app.ts";
import { CompletionFetch, type OwnServer } from "./completion_fetch.ts";
import { addModelOptions, engineOptions, type ModelFlags } from "./model_options.ts";

interface LspFlags extends ModelFlags {
  readonly server?: string;
  readonly apiKey?: string;
}

/** That of `serve`. */
const USUAL_SERVER = "http://127.0.0.1:8012";

const EXAMPLES = `
Editors start it; what they send is in docs/editors.md.
  deno task lsp                                       asks the server on ${USUAL_SERVER}; where none runs, the
                                                      embedded model in this process
  deno task lsp --server http://gpu.lan:8012          asks that one, and never runs a model itself
  deno task lsp --model ~/models/starcoderbase-1b     the model to run where no server is
`;

export function lspCommand(): Command {
  const command = new Command("lsp")
    .description(
      "Complete in editors: a language server (LSP 3.18, inline completions) over stdin and stdout",
    )
    .option("--server <url>", `the server to ask (default: ${USUAL_SERVER} if one runs there)`, parseUrl)
    .option("--api-key <key>", "the key that it wants (or HYADES_API_KEY)");
  return addModelOptions(command).addHelpText("after", EXAMPLES).action((flags: LspFlags) =>
    serveEditor(flags)
  );
}

async function serveEditor(flags: LspFlags): Promise<void> {
  // stdout is the editor's: whatever is printed goes to stderr.
  console.log = console.info = console.debug = console.error;
  const baseUrl = flags.server ?? USUAL_SERVER;
  const source = new CompletionFetch(baseUrl, flags.server ? undefined : () => ownServer(flags));
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
  const engine = new WorkerEngine(engineOptions(flags));
  const app = createApp(engine, { apiKeys: [], version: config.version });
  return {
    fetch: async (request) => await app.fetch(request),
    [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose](),
  };
}

function parseUrl(text: string): string {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) {
    throw new InvalidArgumentError(`must be an address such as ${USUAL_SERVER}`);
  }
  return text;
}
