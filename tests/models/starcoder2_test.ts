// StarCoder2: what its configuration may say, and its window, which chunks of a prompt must not move.
import { deepStrictEqual, equal, ok, throws } from "node:assert/strict";
import { openCheckpoint } from "../../models/checkpoint.ts";
import { loadModel } from "../../models/load_model.ts";
import { countParameters } from "../../models/network.ts";
import { quantizeCheckpoint } from "../../models/quantize.ts";
import { parseStarcoder2Config, starcoder2 } from "../../models/starcoder2.ts";
import { packBatch, TestSequence } from "./cpu_models.ts";
import { logitError } from "./logit_error.ts";
import { PARITY_CASES, readExpected } from "./parity_cases.ts";
import { withFolder } from "./safetensors_bytes.ts";

/** As bigcode/starcoder2-3b says it. */
const PUBLISHED = {
  model_type: "starcoder2",
  hidden_act: "gelu_pytorch_tanh",
  hidden_size: 3072,
  intermediate_size: 12_288,
  max_position_embeddings: 16_384,
  mlp_type: "default",
  norm_epsilon: 1e-5,
  norm_type: "layer_norm",
  num_attention_heads: 24,
  num_hidden_layers: 30,
  num_key_value_heads: 2,
  rope_theta: 999999.4420358813,
  sliding_window: 4096,
  use_bias: true,
  vocab_size: 49_152,
};

Deno.test("parseStarcoder2Config() reads older files and newer ones", () => {
  const { rope_theta, ...rest } = PUBLISHED, older = parseStarcoder2Config(PUBLISHED);
  deepStrictEqual(
    [older.headSize, older.numKvHeads, older.window, older.tiedHead, older.rotaryBase],
    [128, 2, 4096, true, rope_theta],
  );
  deepStrictEqual(
    parseStarcoder2Config({ ...rest, rope_parameters: { rope_type: "default", rope_theta } }),
    older,
  );
  equal(parseStarcoder2Config({ ...PUBLISHED, sliding_window: null }).window, undefined);
});

const WRONG: readonly [name: string, change: object, error: RegExp][] = [
  [
    "stretched positions",
    { rope_scaling: { type: "linear", factor: 4 } },
    /"rope_scaling.type": only the default/,
  ],
  ["an empty window", { sliding_window: 0 }, /"sliding_window": .*received 0/],
  ["another norm", { norm_type: "rms_norm" }, /"norm_type": must be "layer_norm"/],
  ["another MLP", { mlp_type: "gated" }, /"mlp_type": must be "default"/],
  ["another activation", { hidden_act: "relu" }, /"hidden_act": must be one of gelu_pytorch_tanh/],
  ["key heads that do not divide", { num_key_value_heads: 5 }, /"num_key_value_heads": must divide/],
  ["heads of odd size", { num_attention_heads: 1024 }, /"num_attention_heads": must give heads of even size/],
];

for (const [name, change, error] of WRONG) {
  Deno.test(`parseStarcoder2Config() refuses ${name}`, () =>
    throws(() => parseStarcoder2Config({ ...PUBLISHED, ...change }), error));
}

/** Of 100 tokens, with a window of 24: within it, across its end, single tokens and more than a window at once. */
const CHUNKS = [7, 30, 1, 1, 45, 16];

for (const device of ["cpu", "onnx"] as const) {
  Deno.test(`StarCoder2's window is the same for a prompt in chunks [${device}]`, async () => {
    const parityCase = PARITY_CASES.find(({ name }) => name === "starcoder2-gqa-window-f32")!;
    const { prompts, rows, logits } = await readExpected(parityCase);
    const { modelDir } = parityCase;
    const { runner, vocabSize, suppressedTokens } = await loadModel({
      modelDir,
      device,
      kvBytes: 2 ** 24,
      maxSequences: 45,
    });
    await using _ = runner;
    const sequence = new TestSequence(prompts[2], [7, 2, 9, 0, 4, 11, 1, 8, 3, 10, 6, 5]),
      actual: number[] = [];
    for (const count of CHUNKS) {
      const step = await runner.step(packBatch([{ sequence, count }], { everyRow: true }));
      sequence.numCached += count;
      actual.push(...step.logits!);
    }
    const error = logitError(
      actual.slice(-rows[2] * vocabSize),
      logits[2],
      vocabSize,
      new Set(suppressedTokens),
    );
    ok(error.largest <= 1e-4, `largest difference must be at most 1e-4, received ${error.largest}`);
  });
}

Deno.test("countParameters() of starcoder2-3b is the published number", () => {
  const every = { find: (name: string) => name === "embed_tokens.weight" ? undefined : shapeOf(name) };
  const { graph, tensors } = starcoder2.build(PUBLISHED, every as never);
  equal(countParameters(graph, tensors), 3_030_371_328);
});

/** Of the projections that are read as one, as a checkpoint of the published sizes has them. */
function shapeOf(name: string) {
  const rows = /[kv]_proj/.test(name) ? 256 : 3072;
  const shape = name.endsWith("bias") ? [rows] : [rows, 3072];
  return /\.[qkv]_proj\./.test(name) ? { name, dtype: "F32", shape } : undefined;
}

Deno.test("A quantised StarCoder2 folder is read again, its projections whole", async () => {
  const source = PARITY_CASES.find(({ name }) => name === "starcoder2-gqa-window-f32")!.modelDir;
  await withFolder({}, async (folder) => {
    await quantizeCheckpoint(source, `${folder}/int8`, { bits: 8 });
    using checkpoint = await openCheckpoint(`${folder}/int8`);
    equal(checkpoint.tensors.find("model.layers.0.self_attn.qkv_proj.weight")!.dtype, "I8");
    equal(checkpoint.tensors.find("model.layers.0.mlp.c_fc.weight")!.dtype, "I8");
  });
});
