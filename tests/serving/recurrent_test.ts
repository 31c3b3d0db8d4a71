// H3 and modal Hyena over HTTP: greedy tokens are the reference's, streamed and whole, beside others that leave, and with
// the prompt cached; and the server says what it keeps for them.
import { deepStrictEqual, match, ok } from "node:assert/strict";
import { startServer } from "../cli/running_server.ts";
import { RECURRENT_CASES, withModel } from "../models/recurrent_cases.ts";
import { type EngineServer, serveEngine } from "./engine_server.ts";

/** Tokens before it are control tokens, which have no text in completions. */
const FIRST_TEXT_ID = 5;

type Post = (body: object, signal?: AbortSignal) => Promise<Response>;

async function serve(modelDir: string): Promise<EngineServer & { readonly complete: Post }> {
  const server = await serveEngine({
    modelId: "recurrent",
    load: { modelDir, device: "cpu", maxSequences: 3 },
  });
  const complete: Post = (body, signal) =>
    server.post("/v1/completions", { temperature: 0, ignore_eos: true, ...body }, signal);
  return { ...server, complete };
}

/** What a stream says: its text, its usage, and how many events with a choice it had. */
async function readStream(response: Response) {
  const parts = await Array.fromAsync(response.body!.pipeThrough(new TextDecoderStream()));
  const data = parts.join("").split("\n\n").filter(Boolean).map((event) => event.slice("data: ".length));
  deepStrictEqual(data.at(-1), "[DONE]");
  const events = data.slice(0, -1).map((text) => JSON.parse(text));
  const choices = events.flatMap(({ choices }) => choices);
  return {
    text: choices.map(({ text }) => text).join(""),
    usage: events.at(-1).usage,
    numEvents: choices.length,
  };
}

for (const name of RECURRENT_CASES) {
  Deno.test(`greedy tokens over HTTP are the reference's, streamed and whole, while others leave: ${name}`, async () => {
    await withModel(name, async ({ modelDir, prompt, greedy }) => {
      await using server = await serve(modelDir);
      const expected = await server.engine.detokenize(greedy.filter((id) => id >= FIRST_TEXT_ID));
      const wanted = { prompt, max_tokens: greedy.length };
      const leaving = Array.from({ length: 6 }, async (_, i) => {
        const controller = new AbortController();
        const body = { prompt: prompt.slice(0, 2 + i), max_tokens: 500, stream: true };
        const reader = (await server.complete(body, controller.signal)).body!.getReader();
        for (let reads = 0; reads < 2; reads++) await reader.read();
        controller.abort();
      });
      const streams = Array.from({ length: 4 }, async () =>
        await readStream(
          await server.complete({ ...wanted, stream: true, stream_options: { include_usage: true } }),
        ));
      const { choices, usage } = await (await server.complete({ ...wanted, n: 3 })).json();
      deepStrictEqual(choices.map(({ text }: { text: string }) => text), [expected, expected, expected]);
      deepStrictEqual(usage.prompt_tokens, prompt.length);
      for (const { text, usage, numEvents } of await Promise.all(streams)) {
        deepStrictEqual(text, expected);
        deepStrictEqual(usage.completion_tokens, greedy.length);
        ok(numEvents > greedy.length / 2, `${numEvents} events for ${greedy.length} tokens`);
      }
      await Promise.all(leaving);
      while ((await server.engine.stats()).running > 0) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      const { freeStateSlots, totalStateSlots, freeBlocks, totalBlocks } = await server.engine.stats();
      deepStrictEqual([freeStateSlots, freeBlocks], [totalStateSlots, totalBlocks]);
      const again = await (await server.complete(wanted)).json();
      deepStrictEqual(again.choices[0].text, expected);
      ok(again.usage.prompt_tokens_details.cached_tokens > prompt.length / 2, "its prompt is not cached");
    });
  });
}

Deno.test("serve says once what a model with recurrent layers keeps, and nothing of it for others", async () => {
  const line =
    /^Recurrent layers keep [\d.]+ \w+ of a sequence; there is room for \d+ of these, .*hyena_h3\.md/m;
  await using recurrent = await startServer(["--model", "tests/fixtures/long_conv/h3-attention"]);
  match(recurrent.printed(), line);
  await using exact = await startServer(["--model", "tests/fixtures/long_conv/hyena-lm"]);
  match(exact.printed(), /^Long convolutions are summed directly, for 128 tokens of context/m);
  await using plain = await startServer([]);
  ok(!/Recurrent|Long convolutions/.test(plain.printed()));
});
