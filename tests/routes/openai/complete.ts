// A completion as a client gets it of an engine that does what it is told, for tests.
import { FakeEngine, type Script } from "../fake_engine.ts";
import { openApp, post, type Reply } from "../requests.ts";

export const PATH = "/v1/completions";

export async function complete(script: Script, body: Record<string, unknown>): Promise<Reply> {
  return await post(openApp(new FakeEngine(script)), PATH, { prompt: "x", ...body });
}
