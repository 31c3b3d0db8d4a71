// The playground behind a real socket, over an engine that knows one text by heart: it goes on with that text wherever
// the prompt ends with a beginning of it, and begins it everywhere else.
import type { GenerationRequest } from "../../engine/request.ts";
import { bareKeys } from "../../routes/api_keys.ts";
import { createApp } from "../../routes/app.ts";
import { HttpServer } from "../../routes/http_server.ts";
import { FakeEngine, type Script } from "../routes/fake_engine.ts";

export const KNOWN = "return total + item\n    print(total)";

export interface ScriptedServer extends AsyncDisposable {
  readonly engine: FakeEngine;
  readonly url: string;
  /** Added to what the engine would say. */
  script: Script;
  /** Requests of the editor so far, without those for probabilities. */
  readonly asked: () => number;
}

export async function serveScripted(
  { script = {}, keys = [] }: { script?: Script; keys?: readonly string[] } = {},
) {
  const engine = new FakeEngine((request) => ({ ...completionOf(request), ...served.script }));
  const app = createApp(engine, {
    apiKeys: bareKeys(keys),
    playgroundFolder: new URL("../../clients/playground/", import.meta.url),
  });
  const server = await HttpServer.listen(app.fetch, { hostname: "127.0.0.1", port: 0 });
  const served: ScriptedServer = {
    engine,
    script,
    url: `http://127.0.0.1:${server.port}/`,
    asked: () => engine.requests.filter(({ logprobs }) => logprobs === undefined).length,
    [Symbol.asyncDispose]: () => Promise.resolve(server.cut()),
  };
  return served;
}

/** A token is a word or a sign, with the blanks before it. */
function completionOf({ prompt }: GenerationRequest): Script {
  const before = prompt.kind === "infill" ? prompt.prefix + (prompt.lineStart ?? "") : "";
  let known = KNOWN.length;
  while (!before.endsWith(KNOWN.slice(0, known))) known--;
  return { tokens: KNOWN.slice(known).match(/\s*(\w+|\W)/g) ?? [], layout: "psm", cachedTokens: 3 };
}
