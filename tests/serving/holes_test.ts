// Twenty holes in real code, filled in over HTTP by the default model, equal transformers' greedy middles on the same
// weights (fixtures/make_holes.py), in both layouts; and the stream comes token by token.
import { deepStrictEqual, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { WorkerEngine } from "../../engine/worker_engine.ts";
import { createApp } from "../../routes/app.ts";
import { HttpServer } from "../../routes/http_server.ts";

interface Middle {
  readonly promptIds: readonly number[];
  readonly ids: readonly number[];
  readonly text: string;
}

interface Hole {
  readonly file: string;
  readonly prefix: string;
  readonly suffix: string;
  readonly psm: Middle;
  readonly spm: Middle;
}

const HOLES: readonly Hole[] = JSON.parse(
  await Deno.readTextFile(new URL("../fixtures/holes.json", import.meta.url)),
);
const MODEL_DIR = fileURLToPath(new URL("../../weights/hyades-starcoder-31m", import.meta.url));

interface Server extends AsyncDisposable {
  readonly url: string;
  readonly engine: WorkerEngine;
}

async function startServer(): Promise<Server> {
  const load = { modelDir: MODEL_DIR, device: "cpu" } as const;
  const engine = new WorkerEngine({ modelId: "hyades-starcoder-31m", load });
  const server = await HttpServer.listen(createApp(engine, { apiKeys: [] }).fetch, {
    hostname: "127.0.0.1",
    port: 0,
  });
  while (engine.state.phase === "loading") await new Promise((resolve) => setTimeout(resolve, 20));
  deepStrictEqual(engine.state.phase, "ready");
  return {
    url: `http://127.0.0.1:${server.port}`,
    engine,
    async [Symbol.asyncDispose]() {
      await server.shutdown();
      await engine[Symbol.asyncDispose]();
    },
  };
}

function body(hole: Hole, layout: "psm" | "spm", stream: boolean): RequestInit {
  const request = {
    prompt: hole.prefix,
    suffix: hole.suffix,
    fim_layout: layout,
    max_tokens: 48,
    temperature: 0,
    stream,
    stream_options: stream ? { include_usage: true } : null,
  };
  return { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(request) };
}

Deno.test("greedy middles over HTTP equal transformers' in PSM and SPM for 20 holes", async () => {
  ok(HOLES.length >= 20);
  await using server = await startServer();
  for (const hole of HOLES) {
    for (const layout of ["psm", "spm"] as const) {
      const response = await fetch(`${server.url}/v1/completions`, body(hole, layout, false));
      const { choices, usage } = await response.json();
      deepStrictEqual(choices[0].text, hole[layout].text, `${hole.file}, ${layout}`);
      deepStrictEqual(usage.prompt_tokens, hole[layout].promptIds.length);
    }
  }
});

Deno.test("a streamed middle arrives token by token and adds up to the whole", async () => {
  await using server = await startServer();
  const hole = HOLES.reduce((a, b) => a.psm.ids.length >= b.psm.ids.length ? a : b);
  const response = await fetch(`${server.url}/v1/completions`, body(hole, "psm", true));
  const parts = await Array.fromAsync(response.body!.pipeThrough(new TextDecoderStream()));
  const data = parts.join("").split("\n\n").filter(Boolean).map((event) => event.slice("data: ".length));
  deepStrictEqual(data.at(-1), "[DONE]");
  const parsed = data.slice(0, -1).map((text) => JSON.parse(text));
  deepStrictEqual(
    parsed.flatMap(({ choices }) => choices.map((choice: { text: string }) => choice.text)).join(""),
    hole.psm.text,
  );
  // An event a token, and the finish; how many of them arrive in one part is up to the machine.
  const events = parsed.filter(({ choices }) => choices.length > 0);
  ok(events.length > hole.psm.ids.length / 2, `${events.length} events for ${hole.psm.ids.length} tokens`);
  ok(parts.length > 2, `all arrived in ${parts.length} parts`);
  deepStrictEqual(parsed.at(-1).usage.prompt_tokens, hole.psm.promptIds.length);
});
