// The checkpoints that every backend must agree on with transformers, how closely, and what transformers computed
// (fixtures/make_checkpoints.py). Knows no backend.
import { fileURLToPath } from "node:url";
import { DEFAULT_MODEL_DIR, DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import type { KvType } from "../../kernels/attention/kv_layout.ts";
import { SafetensorsSource } from "../../models/safetensors.ts";

const FIXTURES = fileURLToPath(new URL("../fixtures", import.meta.url));

export interface ParityCase {
  readonly name: string;
  readonly modelDir: string;
  /** Folder of expected.json and expected.safetensors. */
  readonly expectedDir: string;
  /** How the weights are stored, which sets the tolerance: parity_test.ts. */
  readonly storage: "f32" | "f16" | "bf16" | "int8";
  /** Storage of K and V on a GPU, where it is not to follow from the weights. */
  readonly kvType?: KvType;
}

function fixture(name: string, storage: ParityCase["storage"]): ParityCase {
  const folder = `${FIXTURES}/checkpoints/${name}`;
  return { name, modelDir: folder, expectedDir: folder, storage };
}

export const PARITY_CASES: readonly ParityCase[] = [
  fixture("mqa-d40-f32", "f32"),
  fixture("mha-d32-erf-untied-f32", "f32"),
  fixture("mqa-d64-sharded-f32", "f32"),
  fixture("mqa-d128-erf-f16", "f16"),
  // f16 holds these bf16 weights but for a few of the tiniest: with K and V in f32, f32's tolerance must be kept.
  { ...fixture("mha-d96-bf16", "bf16"), kvType: "f32" },
  fixture("mha-d80-untied-int8", "int8"),
  fixture("qwen2-gqa-f32", "f32"),
  { ...fixture("qwen2-mqa-untied-bf16", "bf16"), kvType: "f32" },
  fixture("starcoder2-gqa-window-f32", "f32"),
  { ...fixture("starcoder2-mqa-untied-bf16", "bf16"), kvType: "f32" },
  {
    name: DEFAULT_MODEL_ID,
    modelDir: DEFAULT_MODEL_DIR,
    expectedDir: `${FIXTURES}/default_model`,
    storage: "int8",
  },
];

/** What transformers computed in float64 on the stored (or dequantised) weights. */
export interface Expected {
  readonly prompts: readonly (readonly number[])[];
  /** Per prompt: how many of its last rows have logits. */
  readonly rows: readonly number[];
  /** Per prompt: [rows, vocabulary]. */
  readonly logits: readonly Float64Array[];
  readonly greedyPrompt: number;
  /** 64 tokens that follow prompt number `greedyPrompt`. */
  readonly greedy: readonly number[];
  /** Ids that may be drawn, where the head has more rows and no tokenizer file tells. */
  readonly numTokens?: number;
}

export async function readExpected(
  { expectedDir }: Pick<ParityCase, "expectedDir">,
): Promise<Expected> {
  const record: Omit<Expected, "logits"> = JSON.parse(
    await Deno.readTextFile(`${expectedDir}/expected.json`),
  );
  using source = await SafetensorsSource.open(`${expectedDir}/expected.safetensors`);
  const logits = await Promise.all(
    record.rows.map(async (rows, i) =>
      new Float64Array((await source.readRows(`logits.${i}`, 0, rows)).buffer)
    ),
  );
  return { ...record, logits };
}
