// Qwen2: what its configuration may say, and its projections, which are one tensor of several.
import { deepStrictEqual, equal, rejects, throws } from "node:assert/strict";
import { openCheckpoint } from "../../models/checkpoint.ts";
import { quantizeCheckpoint } from "../../models/quantize.ts";
import { parseQwen2Config, qwen2 } from "../../models/qwen2.ts";
import { SafetensorsSource } from "../../models/safetensors.ts";
import { StackedSource } from "../../models/stacked_source.ts";
import { MemorySource } from "../kernels/memory_source.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { PARITY_CASES } from "./parity_cases.ts";
import { withFolder } from "./safetensors_bytes.ts";

/** As Qwen/Qwen2.5-Coder-1.5B says it. */
const PUBLISHED = {
  model_type: "qwen2",
  hidden_size: 1536,
  intermediate_size: 8960,
  num_hidden_layers: 28,
  num_attention_heads: 12,
  num_key_value_heads: 2,
  max_position_embeddings: 32_768,
  max_window_layers: 28,
  sliding_window: 131_072,
  use_sliding_window: false,
  hidden_act: "silu",
  rms_norm_eps: 1e-6,
  rope_theta: 1_000_000,
  tie_word_embeddings: true,
  vocab_size: 151_936,
};

Deno.test("parseQwen2Config() reads older files and newer ones", () => {
  const { rope_theta, ...rest } = PUBLISHED;
  const older = parseQwen2Config(PUBLISHED);
  deepStrictEqual([older.headSize, older.numKvHeads, older.rotaryBase], [128, 2, 1e6]);
  deepStrictEqual(
    parseQwen2Config({ ...rest, rope_parameters: { rope_type: "default", rope_theta } }),
    older,
  );
  equal(parseQwen2Config({ ...PUBLISHED, num_key_value_heads: null }).numKvHeads, 12);
});

const WRONG: readonly [name: string, change: object, error: RegExp][] = [
  [
    "stretched positions",
    { rope_scaling: { type: "yarn", factor: 4 } },
    /"rope_scaling.type": only the default rotary positions/,
  ],
  [
    "a sliding window",
    { use_sliding_window: true },
    /"use_sliding_window": a sliding window is not supported, must be false/,
  ],
  ["layers with windows", { layer_types: ["sliding_attention"] }, /"layer_types.0": must be full_attention/],
  [
    "key heads that do not divide",
    { num_key_value_heads: 5 },
    /"num_key_value_heads": must divide num_attention_heads/,
  ],
  ["another gate", { hidden_act: "gelu" }, /"hidden_act": must be silu/],
];

for (const [name, change, error] of WRONG) {
  Deno.test(`parseQwen2Config() refuses ${name}`, () =>
    throws(() => parseQwen2Config({ ...PUBLISHED, ...change }), error));
}

Deno.test("qwen2 names the part of a projection that is missing or misshapen", async () => {
  const { modelDir } = PARITY_CASES.find(({ name }) => name === "qwen2-gqa-f32")!;
  using source = await SafetensorsSource.open(`${modelDir}/model.safetensors`);
  const config = {
    ...PUBLISHED,
    hidden_size: 96,
    intermediate_size: 131,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    vocab_size: 271,
  };
  const without = {
    find: (name: string) => name.endsWith("1.self_attn.k_proj.bias") ? undefined : source.find(name),
  };
  throws(
    () => qwen2.build(config, without as never),
    /"model\.layers\.1\.self_attn\.k_proj\.bias" is missing/,
  );
  throws(
    () => qwen2.build({ ...config, intermediate_size: 130 }, source),
    /"model\.layers\.0\.mlp\.gate_proj\.weight" must have shape \[130,96\], received \[131,96\]/,
  );
});

Deno.test("StackedSource gives rows of parts one after the other, whichever are asked for, and refuses two types", async () => {
  const source = new MemorySource(), random = new Random(testSeed());
  const parts = [3, 1, 4].map((rows, i) => source.add(`part${i}`, [rows, 5], random.normals(rows * 5)).name);
  source.add("half", [2, 5], random.normals(10), "F16");
  const stacked = new StackedSource(source, new Map([["whole", parts], ["mixed", ["part0", "half"]]]));
  deepStrictEqual(stacked.find("whole"), { name: "whole", dtype: "F32", shape: [8, 5] });
  const all = (await Promise.all(parts.map((name, i) => source.readRows(name, 0, [3, 1, 4][i])))).flatMap((
    bytes,
  ) => [...bytes]);
  for (let start = 0; start < 8; start++) {
    for (let end = start + 1; end <= 8; end++) {
      const wanted = all.slice(start * 20, end * 20), into = new Uint8Array(wanted.length);
      deepStrictEqual([...await stacked.readRows("whole", start, end)], wanted);
      await stacked.readRowsInto("whole", start, end, into);
      deepStrictEqual([...into], wanted);
    }
  }
  equal(stacked.find("part1")!.shape[0], 1);
  throws(() => stacked.find("mixed"), /"part0" and "half" must be of one type, received F32 and F16/);
});

Deno.test("A quantised Qwen2 folder is read again, its projections whole", async () => {
  const source = PARITY_CASES.find(({ name }) => name === "qwen2-gqa-f32")!.modelDir;
  await withFolder({}, async (folder) => {
    const target = `${folder}/int8`;
    await quantizeCheckpoint(source, target, { bits: 8 });
    using checkpoint = await openCheckpoint(target);
    equal(checkpoint.tensors.find("model.layers.0.self_attn.qkv_proj.weight")!.dtype, "I8");
    equal(checkpoint.tensors.find("model.layers.0.self_attn.q_proj.weight"), undefined);
  });
  await rejects(openCheckpoint(`${source}/nothing`));
});
