import { deepStrictEqual, equal, ok, throws } from "node:assert/strict";
import type { Graph, LinearNode } from "../../kernels/graph.ts";
import { weightsOf } from "../../kernels/graph_weights.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import type { TensorSource } from "../../kernels/tensor_source.ts";
import { findTensors, readJson } from "../../models/checkpoint.ts";
import { buildGptBigCode, gptBigCode, parseGptBigCodeConfig } from "../../models/gpt_bigcode.ts";
import { countParameters } from "../../models/network.ts";
import { architectureOf } from "../../models/registry.ts";
import { SafetensorsSource } from "../../models/safetensors.ts";
import { MemorySource } from "../kernels/memory_source.ts";
import { packBatch, TestSequence } from "./cpu_models.ts";
import { logitError } from "./logit_error.ts";
import { PARITY_CASES, readExpected } from "./parity_cases.ts";

const NOTHING: TensorSource = {
  find: () => undefined,
  readRows: () => Promise.reject(new Error("nothing to read")),
  readRowsInto: () => Promise.reject(new Error("nothing to read")),
};

const TINY = {
  model_type: "gpt_bigcode",
  n_embd: 8,
  n_layer: 2,
  n_head: 2,
  n_inner: 16,
  n_positions: 16,
  vocab_size: 11,
};

/** Logits of every row of a prompt, by the float64 reference. */
async function logitsOf(graph: Graph, source: TensorSource, ids: readonly number[]): Promise<Float64Array> {
  const executor = await ReferenceExecutor.create(graph, source);
  const sequence = new TestSequence(ids, [3, 1, 5, 0, 2, 6, 4]);
  return executor.step(packBatch([{ sequence, count: ids.length }], { everyRow: true })).output;
}

/** Weights by the rule 0.5 cos(1 + 0.37 i + 0.11 s): i counts elements, s tensors in byte order of their names. */
function cosineWeights(graph: Graph): MemorySource {
  const refs = weightsOf(graph).map(({ ref }) => ref).sort((a, b) => a.name < b.name ? -1 : 1);
  equal(refs.length, 28);
  const source = new MemorySource();
  refs.forEach(({ name, shape }, s) => {
    const length = shape.reduce((a, b) => a * b, 1);
    const values = Float32Array.from({ length }, (_, i) => 0.5 * Math.cos(1 + 0.37 * i + 0.11 * s));
    source.add(name, shape, values);
  });
  return source;
}

/** Rows 0 and 5 for the ids below, by transformers 5.18 in float64. */
const GOLDEN_IDS = [1, 5, 9, 2, 0, 7];
// deno-fmt-ignore
const GOLDEN = {
  multiQuery: [
    [0.8796792005, -0.9248119997, 0.9395320105, -0.9233551598, 0.8768134294, -0.8014373615, 0.6997057262, -0.5749640066, 0.4313143805, -0.2734808198, 0.1066537401],
    [0.5981190683, -0.6695284573, 0.7189201527, -0.7446698899, 0.7459308795, -0.7226616531, 0.6756274280, -0.6063749423, 0.5171815899, -0.4109805275, 0.2912642168],
  ],
  multiHead: [
    [0.5167782363, -0.6392928162, 0.7407840128, -0.8179142501, 0.8681470714, -0.8898305517, 0.8822516216, -0.8456595169, 0.7812575829, -0.6911637011, 0.5783406425],
    [0.3789327240, -0.4889060549, 0.5828015273, -0.6575313536, 0.7106380154, -0.7403750804, 0.7457646340, -0.7266294387, 0.6835987627, -0.6180876857, 0.5322505640],
  ],
};

for (const kind of ["multiQuery", "multiHead"] as const) {
  Deno.test(`buildGptBigCode() gives transformers' logits for weights made by a formula (${kind})`, async () => {
    const { graph } = gptBigCode.build({ ...TINY, multi_query: kind === "multiQuery" }, NOTHING);
    const logits = await logitsOf(graph, cosineWeights(graph), GOLDEN_IDS);
    for (const [i, row] of [0, 5].entries()) {
      // The formula's values are rounded to f32, which alone moves the logits by some 1e-8.
      const error = logitError(logits.slice(row * 11, row * 11 + 11), GOLDEN[kind][i], 11).largest;
      console.log(`  row ${row}: ${error.toExponential(1)}`);
      ok(error < 3e-7, `row ${row} is off by ${error}`);
    }
  });
}

const FIXTURES = PARITY_CASES.filter(({ name }) => /^m[qh]a-/.test(name));

async function openFixture(modelDir: string) {
  const source = await SafetensorsSource.open(await findTensors(modelDir));
  const config = await readJson(modelDir, "config.json", "") as Record<string, unknown>;
  return { source, config };
}

for (const fixture of FIXTURES) {
  Deno.test(`buildGptBigCode() in float64 gives transformers' logits: ${fixture.name}`, async () => {
    const { source, config } = await openFixture(fixture.modelDir);
    using _ = source;
    const { graph, vocabSize } = gptBigCode.build(config, source);
    const { prompts, rows, logits } = await readExpected(fixture);
    for (const [i, prompt] of prompts.entries()) {
      const kept = (await logitsOf(graph, source, prompt)).subarray(-rows[i] * vocabSize);
      const { largest } = logitError(kept, logits[i], vocabSize);
      console.log(`  ${prompt.length} tokens: ${largest.toExponential(1)}`);
      // int8: here the product of value and scale is rounded to f32, in the fixture it is not.
      ok(largest < (fixture.storage === "int8" ? 2e-6 : 1e-9), `${prompt.length} tokens: off by ${largest}`);
    }
  });
}

/** Ways to read c_attn that are wrong, as the order of stored rows they amount to. */
const MUTATIONS: readonly [
  name: string,
  fixture: string,
  rowOrder: (width: number, kvWidth: number) => number[],
][] = [
  [
    "k and v swapped",
    "mqa-d40-f32",
    (w, kv) => [...range(0, w), ...range(w + kv, w + 2 * kv), ...range(w, w + kv)],
  ],
  ["even thirds for multi-head", "mha-d32-erf-untied-f32", (w) => range(0, 3 * w)],
];

function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i);
}

for (const [name, fixtureName, rowOrder] of MUTATIONS) {
  Deno.test(`the fixtures catch a wrong layout of c_attn: ${name}`, async () => {
    const fixture = FIXTURES.find((candidate) => candidate.name === fixtureName)!;
    const { source, config } = await openFixture(fixture.modelDir);
    using _ = source;
    const { graph, vocabSize } = gptBigCode.build(config, source);
    const { width, numHeads, multiQuery } = parseGptBigCodeConfig(config);
    const order = Uint32Array.from(rowOrder(width, multiQuery ? width / numHeads : width));
    const { prompts, rows, logits } = await readExpected(fixture);
    const mutated = await logitsOf(reorderAttention(graph, order), source, prompts[1]);
    const { largest } = logitError(mutated.subarray(-rows[1] * vocabSize), logits[1], vocabSize);
    ok(largest > 1e-2, `off by ${largest} only`);
  });
}

function reorderAttention(graph: Graph, rowOrder: Uint32Array): Graph {
  const nodes = graph.nodes.map((node) => {
    if (node.op !== "linear" || !node.weight.name.endsWith("c_attn.weight")) return node;
    const mutated: LinearNode = {
      ...node,
      weight: { ...node.weight, rowOrder },
      bias: { ...node.bias!, rowOrder },
    };
    return mutated;
  });
  return { ...graph, nodes };
}

const SIZES: readonly [name: string, config: Record<string, unknown>, parameters: number][] = [
  ["tiny_starcoder_py", sizes(20, 768, 12, 8192, 49_152), 164_144_128],
  ["starcoderbase-1b", sizes(24, 2048, 16, 8192, 49_152), 1_137_207_296],
  ["starcoderbase-3b", sizes(36, 2816, 22, 8192, 49_152), 3_043_311_104],
  ["starcoderbase-7b", sizes(42, 4096, 32, 8192, 49_152), 7_327_263_232],
  ["starcoder", sizes(40, 6144, 48, 8192, 49_152), 15_517_456_384],
  ["gpt_bigcode-santacoder", sizes(24, 2048, 16, 2048, 49_280), 1_124_886_528],
];

function sizes(n_layer: number, n_embd: number, n_head: number, n_positions: number, vocab_size: number) {
  return { model_type: "gpt_bigcode", n_layer, n_embd, n_head, n_positions, vocab_size };
}

for (const [name, config, parameters] of SIZES) {
  Deno.test(`countParameters() of ${name} is the published number`, () => {
    equal(countParameters(gptBigCode.build(config, NOTHING).graph), parameters);
  });
}

const WRONG_CONFIGS: readonly [name: string, change: Record<string, unknown>, error: RegExp][] = [
  [
    "a width that heads do not divide",
    { n_embd: 9 },
    /config.json: "n_embd": must be a multiple of n_head, received 9/,
  ],
  ["cross-attention", { add_cross_attention: true }, /"add_cross_attention".*must be false, received true/],
  [
    "an unknown activation",
    { activation_function: "relu" },
    /"activation_function": must be one of gelu_pytorch_tanh.*received "relu"/,
  ],
  ["an activation from Object.prototype", { activation_function: "toString" }, /"activation_function"/],
  ["no layers", { n_layer: 0 }, /"n_layer".*received 0/],
  ["layers without end", { n_layer: 1e9 }, /"n_layer".*received 1000000000/],
  ["half a head", { n_head: 1.5 }, /"n_head": must be a whole number, received 1.5/],
  ["a width in words", { n_embd: "768" }, /"n_embd".*received "768"/],
  ["a negative epsilon", { layer_norm_epsilon: -1 }, /"layer_norm_epsilon".*received -1/],
  ["a multi_query that is no boolean", { multi_query: 1 }, /"multi_query".*received 1/],
  ["an empty vocabulary", { vocab_size: 0 }, /"vocab_size".*received 0/],
];

for (const [name, change, error] of WRONG_CONFIGS) {
  Deno.test(`parseGptBigCodeConfig() refuses ${name}`, () => {
    throws(() => parseGptBigCodeConfig({ ...TINY, ...change }), (thrown: Error) => {
      ok(thrown instanceof TypeError && error.test(thrown.message), thrown.message);
      return true;
    });
  });
}

Deno.test("parseGptBigCodeConfig() takes transformers' defaults and newer field names", () => {
  const config = parseGptBigCodeConfig({ hidden_size: 64, num_attention_heads: 4, num_hidden_layers: 3 });
  deepStrictEqual(config, {
    vocabSize: 50_257,
    contextLength: 1024,
    width: 64,
    numLayers: 3,
    numHeads: 4,
    innerWidth: 256,
    activation: "gelu_tanh",
    epsilon: 1e-5,
    attentionScale: 0.25,
    multiQuery: true,
    tiedHead: true,
  });
});

/** A source that knows shapes only. */
function shapesOnly(shapes: Readonly<Record<string, readonly number[]>>): TensorSource {
  return {
    find: (name) => Object.hasOwn(shapes, name) ? { name, dtype: "F32", shape: shapes[name] } : undefined,
    readRows: () => Promise.reject(new Error("nothing to read")),
    readRowsInto: NOTHING.readRowsInto,
  };
}

Deno.test("buildGptBigCode() refuses layouts that it would misread, saying which checkpoint to take", () => {
  const config = parseGptBigCodeConfig(TINY);
  throws(
    () => buildGptBigCode(config, shapesOnly({ "transformer.h.0.attn.q_attn.weight": [8, 8] })),
    /original SantaCoder layout .* bigcode\/gpt_bigcode-santacoder/,
  );
  throws(
    () => buildGptBigCode(config, shapesOnly({ "transformer.h.0.attn.c_attn.weight": [8, 16] })),
    /"transformer.h.0.attn.c_attn.weight" is stored \[in, out\] as in GPT-2/,
  );
});

Deno.test("buildGptBigCode() takes files saved without the transformer prefix", () => {
  const { graph } = buildGptBigCode(parseGptBigCodeConfig(TINY), shapesOnly({ "wte.weight": [11, 8] }));
  deepStrictEqual(weightsOf(graph).filter(({ ref }) => ref.name.startsWith("transformer.")), []);
});

Deno.test("architectureOf() refuses a model_type that is not supported, naming those that are", () => {
  equal(architectureOf(TINY), gptBigCode);
  throws(() => architectureOf({ model_type: "llama" }), /must be one of "gpt_bigcode", .*received "llama"/);
  throws(() => architectureOf(null), /received undefined/);
});
