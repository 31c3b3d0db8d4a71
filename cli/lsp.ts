// `lsp`: the flags of the language server over stdin and stdout, which editors start.
import { Command, InvalidArgumentError } from "commander";
import { addModelOptions, type ModelFlags } from "./model_options.ts";

export interface LspFlags extends ModelFlags {
  /** False: never ask one. */
  readonly server?: string | false;
  readonly apiKey?: string;
}

/** That of `serve`. */
export const USUAL_SERVER = "http://127.0.0.1:8012";

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
    .option("--no-server", "ask no server: run the model in this process")
    .option("--api-key <key>", "the key that it wants (or HYADES_API_KEY)");
  return addModelOptions(command).addHelpText("after", EXAMPLES).action(async (flags: LspFlags) => {
    // Its library is nothing that other commands should wait for.
    const { serveEditor } = await import("./lsp_process.ts");
    await serveEditor(flags);
  });
}

function parseUrl(text: string): string {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) {
    throw new InvalidArgumentError(`must be an address such as ${USUAL_SERVER}`);
  }
  return text;
}
