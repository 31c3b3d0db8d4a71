// A completion server for tests of editors: the application over HTTP, with an engine that writes a known text on.
import { createApp } from "../../routes/app.ts";
import { HttpServer } from "../../routes/http_server.ts";
import { FakeEngine } from "../routes/fake_engine.ts";

export class CompletionServer implements AsyncDisposable {
  readonly engine: FakeEngine;
  readonly #server: HttpServer;

  private constructor(engine: FakeEngine, server: HttpServer) {
    this.engine = engine;
    this.#server = server;
  }

  /** @param texts of which the one that begins with the cursor's line is written to its end */
  static async start(texts: readonly string[]): Promise<CompletionServer> {
    const engine = new FakeEngine(({ prompt }) => {
      const prefix = prompt.kind === "infill" ? prompt.prefix : "";
      const line = prefix.slice(prefix.lastIndexOf("\n") + 1);
      const text = texts.find((text) => text.startsWith(line) && text !== line && line.trim() !== "");
      return { tokens: [...(text?.slice(line.length) ?? "")] };
    });
    const app = createApp(engine, { apiKeys: [] });
    return new CompletionServer(
      engine,
      await HttpServer.listen(app.fetch, { hostname: "127.0.0.1", port: 0 }),
    );
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}`;
  }

  /** Text before and after the cursor, of every infill so far. */
  get infills(): { readonly prefix: string; readonly suffix: string }[] {
    return this.engine.requests.flatMap(({ prompt }) => prompt.kind === "infill" ? [prompt] : []);
  }

  cut(): void {
    this.#server.cut();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await this.#server.finished;
  }
}
