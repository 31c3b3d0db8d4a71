// StripedHyena's configuration and tensors: what is refused, and that the layout is the published model's.
import { deepStrictEqual, equal, ok, throws } from "node:assert/strict";
import type { TensorSource } from "../../kernels/tensor_source.ts";
import { weightRefsOf } from "../../models/decoder_layout.ts";
import { parseStripedHyenaConfig, stripedHyenaLayout, stripedHyenaRefs } from "../../models/striped_hyena.ts";
import { stripedHyena } from "../../models/striped_hyena_network.ts";
import { countElements, openCase, STRIPED_CASE } from "./long_conv_cases.ts";

/** As togethercomputer/StripedHyena-Hessian-7B says it, with a layer that does not exist. */
const PUBLISHED = {
  model_type: "stripedhyena",
  vocab_size: 32_000,
  hidden_size: 4096,
  inner_mlp_size: 14_336,
  num_layers: 32,
  attn_layer_idxs: [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31],
  hyena_layer_idxs: [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32],
  num_attention_heads: 32,
  proj_groups: 4,
  rotary_emb_base: 500_000,
  short_filter_length: 3,
  state_size: 2,
  column_split: false,
  column_split_hyena: true,
  eps: 1e-5,
  max_seqlen: 32_768,
};

Deno.test("StripedHyena's layout has as many parameters as the published 7B", () => {
  const config = parseStripedHyenaConfig(PUBLISHED);
  deepStrictEqual([config.numKvHeads, config.numModes, config.contextLength], [8, 2, 32_768]);
  const count = countElements(stripedHyenaRefs(config, { find: () => undefined } as unknown as TensorSource));
  ok(Math.abs(count / 7.65e9 - 1) < 0.01, `${count} parameters`);
});

Deno.test("StripedHyena's graph names every stored tensor but what its configuration says", async () => {
  using opened = await openCase(STRIPED_CASE);
  const layout = stripedHyenaLayout(parseStripedHyenaConfig(opened.config), opened.source);
  const named = new Set(weightRefsOf(layout).map(({ name }) => name));
  deepStrictEqual(opened.source.names.filter((name) => !named.has(name)), [
    "backbone.blocks.1.inner_mha_cls.rotary_emb.inv_freq",
  ]);
  equal(stripedHyena.modelType, "stripedhyena");
});

const WRONG: readonly [name: string, change: object, error: RegExp][] = [
  [
    "a head that does not divide",
    { num_attention_heads: 33 },
    /"num_attention_heads": must divide hidden_size 4096, received 33/,
  ],
  [
    "groups that do not divide",
    { proj_groups: 5 },
    /"proj_groups": must divide num_attention_heads 32, received 5/,
  ],
  [
    "odd heads",
    { hidden_size: 33, num_attention_heads: 11, proj_groups: 1 },
    /"hidden_size": must give heads of even size/,
  ],
  ["another order of columns", { column_split: true }, /"column_split": must be false/],
  ["several filter groups", { hyena_filter_groups: 2 }, /"hyena_filter_groups": must be 1/],
  ["no modes", { state_size: 0 }, /"state_size"/],
  ["biases of queries", { qkv_proj_bias: true }, /"qkv_proj_bias": must be false/],
];

for (const [name, change, error] of WRONG) {
  Deno.test(`parseStripedHyenaConfig() refuses ${name}`, () => {
    throws(() => parseStripedHyenaConfig({ ...PUBLISHED, ...change }), error);
  });
}

Deno.test("stripedHyenaLayout() names a tensor that is missing", async () => {
  using opened = await openCase(STRIPED_CASE);
  const { source } = opened, config = parseStripedHyenaConfig(opened.config);
  const without = {
    find: (name: string) => name.endsWith("blocks.2.filter.poles") ? undefined : source.find(name),
  } as TensorSource;
  throws(() => stripedHyenaLayout(config, without), /blocks\.2\.filter\.poles/);
});
