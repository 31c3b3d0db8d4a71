import { deepStrictEqual, equal, ok, rejects, throws } from "node:assert/strict";
import type { TensorSource } from "../../kernels/tensor_source.ts";
import { h3Layout, h3Refs, loadH3Tables, parseH3Config } from "../../models/h3.ts";
import { loadH3Reference } from "./h3_reference.ts";
import { countElements, expectedOf, loadReference, openCase, relativeError } from "./long_conv_cases.ts";
import { RenamedSource } from "./renamed_source.ts";

const H3_125M = {
  model_type: "h3",
  vocab_size: 50_264,
  hidden_size: 768,
  num_hidden_layers: 12,
  intermediate_size: 3072,
  attention_layers: [6],
  num_attention_heads: 12,
  max_position_embeddings: 2048,
};

/** Ways to read a checkpoint that are wrong, as the checkpoint and configuration they amount to. */
const MUTATIONS: readonly [
  name: string,
  config: Record<string, unknown>,
  rename: (name: string) => string,
][] = [
  [
    "norms not shifted",
    {},
    (name) => name.replace(/layers\.1\.norm([12])/, (_, n) => `layers.1.norm${3 - n}`),
  ],
  ["no rotary", { rotary_dims: 0 }, (name) => name],
  ["rotary of whole heads", { rotary_dims: 8 }, (name) => name],
  ["one head", { num_attention_heads: 1 }, (name) => name],
  [
    "both skips exchanged",
    {},
    (name) => name.replace(/mixer\.(ssm_k_)?D$/, (_, k) => k ? "mixer.D" : "mixer.ssm_k_D"),
  ],
];

for (const [name, change, rename] of MUTATIONS) {
  Deno.test(`the fixtures catch an H3 checkpoint read wrongly: ${name}`, async () => {
    using opened = await openCase("h3-rotary-old-names");
    const config = parseH3Config({ ...opened.config, ...change });
    const reference = await loadH3Reference(config, new RenamedSource(opened.source, rename));
    const { prompts, rows, logits } = await expectedOf("h3-rotary-old-names");
    const wrong = reference.forward(prompts[2]).subarray(-rows[2] * reference.vocabSize);
    const error = relativeError(wrong, logits[2]);
    ok(error > 1e-2, `off by ${error} only`);
  });
}

Deno.test("the fixtures' logits depend on tokens long before", async () => {
  const reference = await loadReference("h3-attention"), { vocabSize } = reference;
  const [first, ...rest] = (await expectedOf("h3-attention")).prompts[2];
  const logits = reference.forward([first, ...rest]).subarray(-vocabSize);
  const other = reference.forward([first === 7 ? 8 : 7, ...rest]).subarray(-vocabSize);
  const change = relativeError(other, logits);
  ok(change > 1e-3, `99 tokens later the logits move by ${change} only`);
});

Deno.test("loadH3Tables() has a tap for every state and the skip of k in the first", async () => {
  using opened = await openCase("h3-attention");
  const layout = h3Layout(parseH3Config(opened.config), opened.source);
  equal(layout.mixers[1].ssm, undefined);
  const { taps, ssm, skip } = await loadH3Tables(opened.source, layout.mixers[0].ssm!);
  deepStrictEqual([taps.length, ssm.poles.re.length, skip.length], [8 * 64, 8 * 32, 8]);
});

Deno.test("parseH3Config() reads a released model's configuration", () => {
  deepStrictEqual(parseH3Config(H3_125M), {
    vocabSize: 50_264,
    contextLength: 2048,
    width: 768,
    numLayers: 12,
    innerWidth: 3072,
    epsilon: 1e-5,
    tiedHead: true,
    attentionLayers: [6],
    numHeads: 12,
    rotaryDims: 0,
    rotaryBase: 10_000,
    numTaps: 64,
    numModes: 32,
  });
});

/** Width, layers, layers that attend and heads of the released models, and their parameters in millions. */
const RELEASED: readonly [
  name: string,
  width: number,
  layers: number,
  attention: number[],
  heads: number,
  millions: number,
][] = [
  ["H3-125M", 768, 12, [6], 12, 126.4],
  ["H3-355M", 1024, 24, [8, 16], 16, 361.1],
  ["H3-1.3B", 2048, 24, [8, 16], 16, 1326.1],
  ["H3-2.7B with three attention layers", 2560, 32, [8, 16, 24], 20, 2670.3],
  ["H3-2.7B with two", 2560, 32, [10, 21], 20, 2671.1],
];

for (const [name, width, layers, attention, heads, millions] of RELEASED) {
  Deno.test(`h3Refs() of ${name} has its number of parameters`, () => {
    const sizes = { hidden_size: width, num_hidden_layers: layers, intermediate_size: 4 * width };
    const config = parseH3Config({
      ...H3_125M,
      ...sizes,
      attention_layers: attention,
      num_attention_heads: heads,
    });
    equal((countElements(h3Refs(config)) / 1e6).toFixed(1), millions.toFixed(1));
  });
}

const WRONG_CONFIGS: readonly [name: string, change: Record<string, unknown>, error: RegExp][] = [
  [
    "a width that heads do not divide",
    { num_attention_heads: 7 },
    /"hidden_size": must be a multiple of num_attention_heads, received 768/,
  ],
  [
    "attention beyond the last layer",
    { attention_layers: [12] },
    /"attention_layers": must be below num_hidden_layers, received \[12\]/,
  ],
  [
    "attention twice in a layer",
    { attention_layers: [6, 6] },
    /"attention_layers": must be in ascending order, each once/,
  ],
  ["attention before the first layer", { attention_layers: [-1] }, /"attention_layers.0".*received -1/],
  ["an odd number of rotary dimensions", { rotary_dims: 5 }, /"rotary_dims": must be even, received 5/],
  [
    "more rotary dimensions than a head has",
    { rotary_dims: 66 },
    /"rotary_dims": must not be more than a head has.*received 66/,
  ],
  ["an odd state", { state_size: 63 }, /"state_size": must be even, received 63/],
  ["no vocabulary", { vocab_size: undefined }, /"vocab_size".*received undefined/],
  ["layers without end", { num_hidden_layers: 1e9 }, /"num_hidden_layers".*received 1000000000/],
  ["a negative epsilon", { layer_norm_epsilon: -1 }, /"layer_norm_epsilon".*received -1/],
];

for (const [name, change, error] of WRONG_CONFIGS) {
  Deno.test(`parseH3Config() refuses ${name}`, () => {
    throws(() => parseH3Config({ ...H3_125M, ...change }), (thrown: Error) => {
      ok(thrown instanceof TypeError && error.test(thrown.message), thrown.message);
      return true;
    });
  });
}

Deno.test("h3Layout() names what is missing, what has another shape, and what is not converted", async () => {
  using opened = await openCase("h3-attention");
  const config = parseH3Config(opened.config);
  const without = (name: string): TensorSource =>
    new RenamedSource(opened.source, (stored) => stored === name ? "" : stored);
  throws(
    () => h3Layout(config, without("backbone.layers.2.mixer.kernel.kernel.B")),
    /tensor "backbone.layers.2.mixer.kernel.kernel.B" is missing from the checkpoint/,
  );
  throws(() => h3Layout(config, without("backbone.ln_f.bias")), /"backbone.ln_f.bias" is missing/);
  throws(
    () => h3Layout({ ...config, numTaps: 32 }, opened.source),
    /"backbone.layers.0.mixer.ssm_k_kernel.kernel.B" must have shape \[8,32\], received \[8,64\]/,
  );
  throws(
    () => h3Layout({ ...config, attentionLayers: [0] }, opened.source),
    /"backbone.layers.1.mixer.ssm_k_kernel.kernel.B" is missing/,
  );
  throws(
    () =>
      h3Layout(
        config,
        new RenamedSource(opened.source, (name) =>
          name.replace("backbone.embeddings.word_embeddings.", "embedding.")),
      ),
    /it has "embedding.weight", as its authors' programs name it; convert it with tools\/convert_checkpoint.py/,
  );
  await rejects(
    loadH3Reference({ ...config, tiedHead: false }, opened.source),
    /"lm_head.weight" is missing/,
  );
});
