// The trained H3 and Hyena complete over HTTP on every backend, of the GPUs on one provider a run: greedy tokens are
// PyTorch's, and what is filled in between a prefix and a suffix is the same on each, in both layouts, streamed and whole.
import { deepStrictEqual, ok } from "node:assert/strict";
import { GPU_PROVIDERS, isDrawn, openTestGpu } from "../gpus.ts";
import { ROOMY } from "../models/shared_sizes.ts";
import { TRAINED_MODELS, trainedModel } from "../models/trained_cases.ts";
import { serveEngine } from "./engine_server.ts";

const HOLE = {
  prompt: "def mean(values):\n    total = 0\n    for value in values:\n        total += ",
  suffix: "\n    return total / len(values)\n",
  max_tokens: 3,
};
const NUM_TOKENS = 6;

/** The text that a stream's events add up to. */
async function streamed(response: Response): Promise<string> {
  const events = (await response.text()).split("\n\n").filter(Boolean).map((event) =>
    event.slice("data: ".length)
  );
  deepStrictEqual(events.pop(), "[DONE]");
  return events.flatMap((event) => JSON.parse(event).choices).map(({ text }) => text).join("");
}

for (const id of TRAINED_MODELS) {
  Deno.test(`a trained model completes over HTTP, alike on every backend: ${id}`, async () => {
    const { modelDir, expected: { prompts, greedyPrompt, greedy } } = await trainedModel(id);
    // Software takes a second a token, compilation aside.
    const first = greedy.slice(0, NUM_TOKENS), middles: string[] = [];
    const drawn = GPU_PROVIDERS.filter((provider) => isDrawn(id, provider));
    for (const device of ["cpu", ...drawn] as const) {
      if (device !== "cpu") {
        using gpu = await openTestGpu(device);
        if (!gpu) continue;
      }
      const load = { modelDir, device, profile: "safe", ...ROOMY, kvBytes: 2 ** 28 } as const;
      await using server = await serveEngine({ modelId: id, load });
      const complete = (body: object) => server.post("/v1/completions", { temperature: 0, ...body });
      const wanted = await server.engine.detokenize([...first]);
      const greedily = { prompt: prompts[greedyPrompt], max_tokens: first.length, ignore_eos: true };
      const { choices } = await (await complete(greedily)).json();
      deepStrictEqual(choices[0].text, wanted, `after a prompt on ${device}`);
      const both = await Promise.all((["psm", "spm"] as const).map(async (fim_layout) => {
        const hole = { ...HOLE, fim_layout };
        const { choices: [{ text }], usage } = await (await complete(hole)).json();
        ok(
          text.trim() !== "" && usage.prompt_tokens > 20,
          `${fim_layout} on ${device}: ${JSON.stringify(text)}`,
        );
        deepStrictEqual(
          await streamed(await complete({ ...hole, stream: true })),
          text,
          `${fim_layout} on ${device}`,
        );
        return text;
      }));
      middles.push(JSON.stringify(both));
    }
    deepStrictEqual(new Set(middles).size, 1, middles.join("\n"));
  });
}
