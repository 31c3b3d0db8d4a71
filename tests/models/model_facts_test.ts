// What is told of models that are not loaded, of every family and both kinds of file.
import { equal } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { modelFacts } from "../../models/model_facts.ts";

/** By folder or file of tests/fixtures, `hidden_size`, `n_embd` or `d_model` of the config.json that it has or was made from. */
const WIDTHS = {
  "checkpoints/mqa-d40-f32": 80,
  "checkpoints/qwen2-gqa-f32": 96,
  "checkpoints/starcoder2-mqa-untied-bf16": 128,
  "long_conv/h3-rotary-old-names": 16,
  "long_conv/hyena-lm": 8,
  "long_conv/striped-hyena": 16,
  "gguf/qwen2-q8_0.gguf": 96,
  "gguf/starcoder-f16.gguf": 128,
  "gguf/starcoder2-bf16.gguf": 128,
};

for (const [name, width] of Object.entries(WIDTHS)) {
  Deno.test(`modelFacts() knows the width of ${name}`, async () => {
    const modelDir = fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
    equal((await modelFacts({ modelDir, device: "cpu" })).width, width);
  });
}
