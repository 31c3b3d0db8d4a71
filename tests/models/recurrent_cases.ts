// The models with recurrent layers that are served in tests: an H3 hybrid, and a Hyena in modal form, distilled when it is
// asked for. With each, the greedy tokens of a float64 reference, and how far from others a token was chosen.
import { readJson } from "../../models/checkpoint.ts";
import { distilCheckpoint } from "../../models/distil.ts";
import { parseHyenaConfig } from "../../models/hyena.ts";
import { SafetensorsSource } from "../../models/safetensors.ts";
import type { DecoderReference } from "./decoder_reference.ts";
import { loadHyenaReference } from "./hyena_reference.ts";
import { bestToken, caseFolder, expectedOf, loadReference, STRIPED_CASE } from "./long_conv_cases.ts";
import { withFolder } from "./safetensors_bytes.ts";

export const RECURRENT_CASES = ["h3-attention", "hyena-modal"] as const;
/** The same hybrid but for attention that turns by position: with it only what is another is tested. */
export const ROTARY_CASE = "h3-rotary-old-names";
/** Hyena with its own filters, whose inputs are in the paged cache. */
export const EXACT_CASE = "hyena-lm";
export type RecurrentCase =
  | (typeof RECURRENT_CASES)[number]
  | typeof ROTARY_CASE
  | typeof STRIPED_CASE
  | typeof EXACT_CASE;

export interface RecurrentModel {
  readonly modelDir: string;
  readonly prompt: readonly number[];
  /** 64 tokens that follow the prompt. */
  readonly greedy: readonly number[];
  /** Distance of the two best logits where each of them is chosen. */
  readonly gaps: readonly number[];
  /** Most distance of two logits that rounding may swap: 1e-3 of the largest. */
  readonly tie: number;
}

const NUM_TOKENS = 64;

export async function withModel(
  name: RecurrentCase,
  body: (model: RecurrentModel) => Promise<void>,
): Promise<void> {
  if (name === STRIPED_CASE) {
    const modelDir = caseFolder(name),
      { prompts, greedyPrompt, greedy } = await expectedOf(name);
    // No choice hangs on so little that rounding may swap it: the fixture's maker sees to that.
    const gaps = greedy.map(() => Infinity);
    return await body({ modelDir, prompt: prompts[greedyPrompt], greedy, gaps, tie: 0 });
  }
  if (name !== "hyena-modal") {
    const modelDir = caseFolder(name);
    const expected = await expectedOf(name);
    const model = continuation(
      await loadReference(name),
      expected.prompts[expected.greedyPrompt],
      expected.numTokens!,
    );
    // The fixture's tokens were computed by the authors' formulas in Python.
    return await body({ modelDir, ...model, greedy: expected.greedy });
  }
  await withFolder({}, async (folder) => {
    await distilCheckpoint(caseFolder("hyena-lm"), folder, { numModes: 12 });
    const { prompts, greedyPrompt, numTokens } = await expectedOf("hyena-lm");
    using source = await SafetensorsSource.open(`${folder}/model.safetensors`);
    const reference = await loadHyenaReference(
      parseHyenaConfig(await readJson(folder, "config.json")),
      source,
    );
    await body({ modelDir: folder, ...continuation(reference, prompts[greedyPrompt], numTokens!) });
  });
}

function continuation(reference: DecoderReference, prompt: readonly number[], numTokens: number) {
  const states = reference.newStates(), greedy: number[] = [], gaps: number[] = [];
  let logits: Float64Array = reference.advance(prompt, states).slice(-reference.vocabSize), largest = 0;
  while (greedy.length < NUM_TOKENS) {
    const id = bestToken(logits, numTokens);
    const others = logits.subarray(0, numTokens).filter((_, other) => other !== id);
    gaps.push(logits[id] - Math.max(...others));
    largest = Math.max(largest, ...logits.map(Math.abs));
    greedy.push(id);
    logits = reference.step(id, states);
  }
  return { prompt, greedy, gaps, tie: 1e-3 * largest };
}
