// Twenty holes in real code, filled in over HTTP by the default model, equal transformers' greedy middles on the same
// weights (fixtures/make_holes.py), in both layouts; and the stream comes token by token.
import { deepStrictEqual, ok } from "node:assert/strict";
import { DEFAULT_MODEL_DIR, DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { type EngineServer, serveEngine } from "./engine_server.ts";

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

function startServer(): Promise<EngineServer> {
  const load = { modelDir: DEFAULT_MODEL_DIR, device: "cpu" } as const;
  // All of the suffix, which transformers was shown, too.
  return serveEngine({ modelId: DEFAULT_MODEL_ID, load, infillSuffix: 1024 });
}

function body(hole: Hole, layout: "psm" | "spm", stream: boolean): object {
  return {
    prompt: hole.prefix,
    suffix: hole.suffix,
    fim_layout: layout,
    max_tokens: 48,
    temperature: 0,
    token_healing: false, // As transformers has it.
    stream,
    stream_options: stream ? { include_usage: true } : null,
  };
}

Deno.test("greedy middles over HTTP equal transformers' in PSM and SPM for 20 holes", async () => {
  ok(HOLES.length >= 20);
  await using server = await startServer();
  for (const hole of HOLES) {
    for (const layout of ["psm", "spm"] as const) {
      const response = await server.post("/v1/completions", body(hole, layout, false));
      const { choices, usage } = await response.json();
      deepStrictEqual(choices[0].text, hole[layout].text, `${hole.file}, ${layout}`);
      deepStrictEqual(usage.prompt_tokens, hole[layout].promptIds.length);
    }
  }
});

Deno.test("a streamed middle arrives token by token and adds up to the whole", async () => {
  await using server = await startServer();
  const hole = HOLES.reduce((a, b) => a.psm.ids.length >= b.psm.ids.length ? a : b);
  const response = await server.post("/v1/completions", body(hole, "psm", true));
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

Deno.test("healed middles over HTTP go on from the character that was typed last, in both layouts", async () => {
  await using server = await startServer();
  let healed = 0;
  for (const [index, hole] of HOLES.entries()) {
    const column = 1 + index % 7, prefix = hole.prefix.slice(0, hole.prefix.length - column);
    const typed = prefix.slice(prefix.lastIndexOf("\n") + 1);
    const request = {
      ...{
        input_prefix: prefix.slice(0, prefix.length - typed.length),
        prompt: typed,
        input_suffix: hole.suffix,
      },
      ...{ fim_layout: index % 2 ? "psm" : "spm", n_predict: 12, temperature: 0, return_tokens: true },
    };
    const reply = await (await server.post("/infill", request)).json();
    const drawn = await server.engine.detokenize(reply.tokens);
    ok(
      drawn.endsWith(reply.content),
      `${hole.file}: ${JSON.stringify(reply.content)} of ${JSON.stringify(drawn)}`,
    );
    const again = drawn.slice(0, drawn.length - reply.content.length);
    ok(prefix.endsWith(again), `${hole.file}: ${JSON.stringify(again)} was not typed`);
    ok(reply.tokens.length <= 12 && (reply.healed ?? 0) >= again.length);
    healed += reply.healed ? 1 : 0;
  }
  ok(healed >= HOLES.length / 2, `${healed} prompts were healed`);
});
