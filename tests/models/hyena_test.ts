import { deepStrictEqual, equal, ok, throws } from "node:assert/strict";
import type { TensorSource } from "../../kernels/tensor_source.ts";
import { hyenaLayout, hyenaRefs, loadHyenaFilter, parseHyenaConfig } from "../../models/hyena.ts";
import { loadHyenaReference } from "./hyena_reference.ts";
import {
  countElements,
  expectedOf,
  type LongConvCase,
  openCase,
  REFERENCE_TOLERANCE,
  relativeError,
} from "./long_conv_cases.ts";
import { RenamedSource } from "./renamed_source.ts";

const SMALL_150B = {
  model_type: "hyena",
  vocab_size: 50_264,
  d_model: 864,
  n_layer: 18,
  d_inner: 1728,
  max_seq_len: 2048,
  emb_dim: 33,
  filter_order: 64,
  filter_window: false,
};

const DNA_1K = {
  model_type: "hyenadna",
  vocab_size: 12,
  d_model: 128,
  n_layer: 2,
  d_inner: 512,
  max_seq_len: 1026,
  emb_dim: 5,
  filter_order: 64,
  num_inner_mlps: 2,
  hyena_order: 2,
  pad_vocab_size_multiple: 8,
};

/** Ways to read a checkpoint that are right, as the names its tensors then have. */
const OTHER_NAMES: readonly [name: string, fixture: LongConvCase, rename: (name: string) => string][] = [
  ["only the second sine's freq", "hyena-lm", (name) => name.replace(".1.freq", ".3.freq")],
  ["only the third sine's freq", "hyena-lm", (name) => name.replace(".1.freq", ".5.freq")],
  ["the port's prefix", "hyena-lm", (name) => name.replace("backbone.", "hyena.backbone.")],
  ["no prefix", "hyena-dna-hf", (name) => name.replace("hyena.backbone.", "backbone.")],
  ["decay by its formula", "hyena-dna-hf", (name) => name.endsWith(".deltas") ? "" : name],
  ["positions by their formula", "hyena-dna-hf", (name) => name.endsWith(".z") ? "" : name],
];

for (const [name, fixture, rename] of OTHER_NAMES) {
  Deno.test(`hyenaLayout() reads a checkpoint with ${name}`, async () => {
    using opened = await openCase(fixture);
    const config = parseHyenaConfig(opened.config);
    const reference = await loadHyenaReference(config, new RenamedSource(opened.source, rename));
    const { prompts, rows, logits } = await expectedOf(fixture);
    const error = relativeError(
      reference.forward(prompts[2]).subarray(-rows[2] * reference.vocabSize),
      logits[2],
    );
    // Formulas in float64 stand for stored values that were rounded to f32, which the sines multiply.
    ok(error < (name.includes("formula") ? 1e-4 : REFERENCE_TOLERANCE), `off by ${error}`);
  });
}

/** Ways to read a checkpoint that are wrong. */
const MUTATIONS: readonly [
  name: string,
  fixture: LongConvCase,
  change: Record<string, unknown>,
  rename?: (name: string) => string,
][] = [
  ["a window that it was not trained with", "hyena-lm", { filter_window: true }],
  ["no window", "hyena-dna-hf", { filter_window: false }],
  ["no shift", "hyena-dna-hf", { filter_shift: 0 }],
  [
    "positions by their formula where they were trained",
    "hyena-lm",
    {},
    (name) => name.endsWith(".z") ? "" : name,
  ],
  [
    "inner layers of the filter exchanged",
    "hyena-lm",
    {},
    (name) => name.replace(/filter\.([24])\./, (_, i) => `filter.${6 - i}.`),
  ],
];

for (const [name, fixture, change, rename = (stored: string) => stored] of MUTATIONS) {
  Deno.test(`the fixtures catch a Hyena checkpoint read wrongly: ${name}`, async () => {
    using opened = await openCase(fixture);
    const config = parseHyenaConfig({ ...opened.config, ...change });
    const reference = await loadHyenaReference(config, new RenamedSource(opened.source, rename));
    const { prompts, rows, logits } = await expectedOf(fixture);
    const error = relativeError(
      reference.forward(prompts[2]).subarray(-rows[2] * reference.vocabSize),
      logits[2],
    );
    ok(error > 1e-3, `off by ${error} only`);
  });
}

Deno.test("loadHyenaFilter() has a filter for every channel, and f32 keeps it to 1e-7", async () => {
  using opened = await openCase("hyena-lm");
  const config = parseHyenaConfig(opened.config);
  const { long } = hyenaLayout(config, opened.source).mixers[1];
  ok(long.form === "filter");
  const taps = await loadHyenaFilter(config, opened.source, long);
  equal(taps.length, config.width * config.contextLength);
  ok(relativeError(Float32Array.from(taps), taps) < 1e-7);
});

Deno.test("parseHyenaConfig() reads the small language model's configuration", () => {
  deepStrictEqual(parseHyenaConfig(SMALL_150B), {
    vocabSize: 50_264,
    contextLength: 2048,
    width: 864,
    numLayers: 18,
    innerWidth: 1728,
    epsilon: 1e-5,
    tiedHead: true,
    shortTaps: 3,
    positionFeatures: 33,
    filterWidth: 64,
    numInnerLayers: 2,
    window: false,
    shift: 0,
    numModes: undefined,
  });
});

Deno.test("parseHyenaConfig() gives DNA models their padded vocabulary, own head, window and shift", () => {
  const { vocabSize, tiedHead, window, shift } = parseHyenaConfig(DNA_1K);
  deepStrictEqual({ vocabSize, tiedHead, window, shift }, {
    vocabSize: 16,
    tiedHead: false,
    window: true,
    shift: 0.05,
  });
  equal(parseHyenaConfig({ ...DNA_1K, filter_shift: 0 }).shift, 0);
});

Deno.test("hyenaRefs() of the small language model has its number of parameters, with trained positions and without", () => {
  const config = parseHyenaConfig(SMALL_150B),
    stores = (suffix: string): TensorSource => ({
      find: (name) => suffix !== "" && name.endsWith(suffix) ? { name, dtype: "F32", shape: [] } : undefined,
      readRows: () => Promise.reject(new Error("nothing to read")),
      readRowsInto: () => Promise.reject(new Error("nothing to read")),
    });
  equal((countElements(hyenaRefs(config, stores(""))) / 1e6).toFixed(2), "152.48");
  equal((countElements(hyenaRefs(config, stores(".pos_emb.z"))) / 1e6).toFixed(2), "153.70");
});

const WRONG_CONFIGS: readonly [name: string, change: Record<string, unknown>, error: RegExp][] = [
  ["another order", { hyena_order: 3 }, /"hyena_order": must be 2, received 3/],
  ["projections without biases", { use_bias: false }, /"use_bias": must be true, received false/],
  ["an even number of features", { emb_dim: 32 }, /"emb_dim": must be odd, received 32/],
  ["time alone as feature", { emb_dim: 1 }, /"emb_dim".*received 1/],
  ["no positions", { max_seq_len: 0 }, /"max_seq_len".*received 0/],
  ["another model", { model_type: "h3" }, /"model_type".*received "h3"/],
  ["a window in words", { filter_window: "on" }, /"filter_window".*received "on"/],
  ["no modes", { filter_modes: 0 }, /"filter_modes".*received 0/],
  ["layers without end", { n_layer: 1e9 }, /"n_layer".*received 1000000000/],
];

for (const [name, change, error] of WRONG_CONFIGS) {
  Deno.test(`parseHyenaConfig() refuses ${name}`, () => {
    throws(() => parseHyenaConfig({ ...SMALL_150B, ...change }), (thrown: Error) => {
      ok(thrown instanceof TypeError && error.test(thrown.message), thrown.message);
      return true;
    });
  });
}

Deno.test("hyenaLayout() names what is missing and what has another shape", async () => {
  using opened = await openCase("hyena-lm");
  const config = parseHyenaConfig(opened.config);
  const without = (name: string): TensorSource =>
    new RenamedSource(opened.source, (stored) => stored.endsWith(name) ? "" : stored);
  throws(
    () => hyenaLayout(config, without("layers.1.mixer.filter_fn.bias")),
    /tensor "backbone.layers.1.mixer.filter_fn.bias" is missing/,
  );
  throws(
    () => hyenaLayout(config, without(".freq")),
    /"backbone.layers.0.mixer.filter_fn.implicit_filter.1.freq" is missing/,
  );
  throws(
    () => hyenaLayout({ ...config, contextLength: 64 }, opened.source),
    /"backbone.layers.0.mixer.filter_fn.pos_emb.z" must have shape \[1,64,5\], received \[1,128,5\]/,
  );
  throws(
    () => hyenaLayout({ ...config, numInnerLayers: 1 }, opened.source),
    /implicit_filter.4.weight" must have shape \[8,6\], received \[6,6\]/,
  );
  throws(
    () => hyenaLayout({ ...config, numInnerLayers: 3 }, opened.source),
    /implicit_filter.6.weight" must have shape \[6,6\], received \[8,6\]/,
  );
  throws(
    () => hyenaLayout({ ...config, shortTaps: 4 }, opened.source),
    /short_filter.weight" must have shape \[24,1,4\], received \[24,1,3\]/,
  );
});
