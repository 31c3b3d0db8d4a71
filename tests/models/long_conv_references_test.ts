// The float64 references of H3 and Hyena give what those in Python give, however a text is divided.
import { deepStrictEqual, ok } from "node:assert/strict";
import { Random, testSeed } from "../kernels/random.ts";
import {
  bestToken,
  expectedOf,
  H3_CASES,
  loadReference,
  LONG_CONV_CASES,
  REFERENCE_TOLERANCE,
  relativeError,
} from "./long_conv_cases.ts";

for (const name of LONG_CONV_CASES) {
  Deno.test(`The reference gives the fixture's logits and greedy tokens: ${name}`, async () => {
    const reference = await loadReference(name), { vocabSize } = reference;
    const { prompts, rows, logits, greedy, greedyPrompt, numTokens } = await expectedOf(name);
    prompts.forEach((prompt, i) => {
      const error = relativeError(reference.forward(prompt).subarray(-rows[i] * vocabSize), logits[i]);
      console.log(`  ${prompt.length} tokens: ${error.toExponential(1)}`);
      ok(error < REFERENCE_TOLERANCE, `${prompt.length} tokens: off by ${error}`);
    });
    const states = reference.newStates(), ids: number[] = [];
    let next = reference.advance(prompts[greedyPrompt], states).subarray(-vocabSize);
    while (ids.length < greedy.length) {
      ids.push(bestToken(next, numTokens!));
      next = reference.step(ids.at(-1)!, states);
    }
    deepStrictEqual(ids, greedy);
  });

  Deno.test(`The reference: a prompt, then steps, give the whole text's logits: ${name}`, async () => {
    const reference = await loadReference(name), { vocabSize } = reference;
    const { prompts } = await expectedOf(name);
    const text = [...prompts[2], ...prompts[1]], whole = reference.forward(text);
    for (const split of [1, 2, 3, 63, 64, 65, 100, text.length - 1]) {
      const states = reference.newStates(), logits = new Float64Array(whole.length);
      logits.set(reference.advance(text.slice(0, split), states));
      for (let t = split; t < text.length; t++) logits.set(reference.step(text[t], states), t * vocabSize);
      const error = relativeError(logits, whole);
      ok(error < REFERENCE_TOLERANCE, `split at ${split}: off by ${error}`);
    }
  });
}

for (const name of H3_CASES) {
  Deno.test(`H3's reference: a prompt in two parts is the prompt: ${name}`, async () => {
    const reference = await loadReference(name), { vocabSize } = reference;
    const text = (await expectedOf(name)).prompts[2];
    const whole = reference.forward(text).subarray(-vocabSize);
    for (const split of [1, 50, 64, 99]) {
      const states = reference.newStates();
      reference.advance(text.slice(0, split), states);
      const error = relativeError(reference.advance(text.slice(split), states).subarray(-vocabSize), whole);
      ok(error < REFERENCE_TOLERANCE, `split at ${split}: off by ${error}`);
    }
  });
}

Deno.test("H3's reference: a prompt of 1000 tokens, then steps, give the whole text's logits", async () => {
  const reference = await loadReference("h3-attention"), { vocabSize } = reference;
  const text = [...new Random(testSeed()).integers(1010, vocabSize)], whole = reference.forward(text);
  const states = reference.newStates();
  reference.advance(text.slice(0, 1000), states);
  for (let t = 1000; t < text.length; t++) {
    const error = relativeError(
      reference.step(text[t], states),
      whole.subarray(t * vocabSize, (t + 1) * vocabSize),
    );
    ok(error < REFERENCE_TOLERANCE, `token ${t}: off by ${error}`);
  }
});
