// Opens a model folder as Hugging Face lays it out: configuration, tokenizer files and tensors, all checked before
// anything is loaded. Reads weights lazily; knows no device.
import { z } from "zod";
import type { TensorSource } from "../kernels/tensor_source.ts";
import { parseConfig } from "./config.ts";
import { countParameters, type Network, requireWeights } from "./network.ts";
import { architectureOf } from "./registry.ts";
import { SafetensorsSource } from "./safetensors.ts";
import { suppressedTokens } from "./suppressed_tokens.ts";

/** What the weights are read from. */
export type FileFormat = "safetensors" | "gguf";

/** A model folder, open. Dispose of it once the weights are on the device. */
export interface Checkpoint extends Disposable {
  /** `model_type` of config.json. */
  readonly architecture: string;
  readonly fileFormat: FileFormat;
  readonly network: Network;
  readonly tensors: TensorSource;
  readonly numParameters: number;
  /** Bytes of all tensors in the files. */
  readonly weightBytes: number;
  /** generation_config.json's, else config.json's; the first where it lists several. */
  readonly eosTokenId: number;
  /** Never drawn: `suppress_tokens` of generation_config.json, and rows of the head that no token maps to. */
  readonly suppressedTokens: readonly number[];
  /** `infill_token_healing` of generation_config.json, a field of ours. */
  readonly healsInfills?: boolean;
  readonly tokenizer: { readonly tokenizerJson: unknown; readonly tokenizerConfig: unknown };
}

const tokenId = z.int().nonnegative();
const endTokens = z.union([tokenId, z.array(tokenId).min(1)]).nullish();
const quantizationSchema = z.object({
  quant_method: z.literal("hyades", 'must be "hyades" (made by the quantize command)'),
  bits: z.literal([4, 8], "must be 4 or 8"),
});
const configSchema = z.object({
  eos_token_id: endTokens,
  quantization_config: quantizationSchema.optional(),
});
const generationSchema = z.object({
  eos_token_id: endTokens,
  suppress_tokens: z.array(tokenId).nullish(),
  infill_token_healing: z.boolean().nullish(),
});

/** transformers' default for a configuration that names no end token. */
const DEFAULT_EOS = 50_256;

/**
 * Opens a folder with config.json, tokenizer.json and model.safetensors (or shards with an index);
 * generation_config.json and tokenizer_config.json may be missing.
 * @throws {Deno.errors.NotFound} naming the file that is missing and how to get it
 * @throws {SyntaxError} when a file cannot be parsed
 * @throws {TypeError} when a field or a tensor is not what the architecture needs
 */
export async function openCheckpoint(folder: string): Promise<Checkpoint> {
  await requireFolder(folder);
  const config = await readJson(folder, "config.json", "a Hugging Face model folder has one");
  const { eos_token_id, quantization_config: _ } = parseConfig(configSchema, config, "config.json");
  const generation = await readGenerationConfig(folder);
  const tokenizerJson = await readJson(
    folder,
    "tokenizer.json",
    'save the tokenizer in its fast form (transformers: AutoTokenizer.from_pretrained(...).save_pretrained("..."))',
  );
  const tokenizerConfig = await readJson(folder, "tokenizer_config.json") ?? {};
  architectureOf(config);
  const tensors = await SafetensorsSource.open(await findTensors(folder));
  return checkpointOf(tensors, {
    fileFormat: "safetensors",
    config,
    tokenizer: { tokenizerJson, tokenizerConfig },
    eosTokenId: firstToken(generation.eos_token_id) ?? firstToken(eos_token_id),
    suppressed: generation.suppress_tokens ?? [],
    ...(typeof generation.infill_token_healing === "boolean" &&
      { healsInfills: generation.infill_token_healing }),
  });
}

/** What the files of a model say beside its tensors. */
export interface CheckpointParts extends Pick<Checkpoint, "fileFormat" | "tokenizer" | "healsInfills"> {
  /** As config.json has it. */
  readonly config: unknown;
  readonly eosTokenId: number | undefined;
  readonly suppressed?: readonly number[];
}

/**
 * The checkpoint of tensors that are open; they are closed when it cannot be one.
 * @throws {TypeError} when a field or a tensor is not what the architecture needs
 */
export function checkpointOf(
  tensors: TensorSource & Disposable & { readonly numBytes: number },
  { fileFormat, config, tokenizer, eosTokenId, suppressed = [], healsInfills }: CheckpointParts,
): Checkpoint {
  try {
    const { modelType, build } = architectureOf(config);
    const network = build(config, tensors), weights = network.tensors ?? tensors;
    requireWeights(network.graph, weights);
    return {
      architecture: modelType,
      fileFormat,
      network,
      tensors: weights,
      numParameters: countParameters(network.graph, weights),
      weightBytes: tensors.numBytes,
      eosTokenId: eosTokenId ?? DEFAULT_EOS,
      suppressedTokens: suppressedTokens(tokenizer.tokenizerJson, network.vocabSize, suppressed),
      ...(healsInfills !== undefined && { healsInfills }),
      tokenizer,
      [Symbol.dispose]: () => tensors[Symbol.dispose](),
    };
  } catch (error) {
    tensors[Symbol.dispose]();
    throw error;
  }
}

/**
 * Path of the folder's tensors: the single file, or the index of its shards.
 * @throws {Deno.errors.NotFound} when there is neither
 */
export async function findTensors(folder: string): Promise<string> {
  for (const file of ["model.safetensors", "model.safetensors.index.json"]) {
    if (await exists(`${folder}/${file}`)) return `${folder}/${file}`;
  }
  const mend = await exists(`${folder}/pytorch_model.bin`)
    ? "pytorch_model.bin must be converted (transformers: model.save_pretrained(..., safe_serialization=True))"
    : "download it with the rest of the model";
  throw new Deno.errors.NotFound(`Cannot load model: "${folder}" has no model.safetensors; ${mend}`);
}

/**
 * Parses one file of a model folder.
 * @param mend what to do when the file is missing; without it a missing file is undefined
 */
export async function readJson(folder: string, file: string, mend?: string): Promise<unknown> {
  const path = `${folder}/${file}`;
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw new SyntaxError(`Cannot load model: "${path}" must be JSON: ${error.message}`);
    }
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    if (mend === undefined) return undefined;
    throw new Deno.errors.NotFound(`Cannot load model: "${path}" is missing; ${mend}`);
  }
}

async function readGenerationConfig(folder: string) {
  const json = await readJson(folder, "generation_config.json") ?? {};
  return parseConfig(generationSchema, json, "generation_config.json");
}

async function requireFolder(folder: string): Promise<void> {
  const found = await Deno.stat(folder).catch(() => undefined);
  if (found?.isDirectory) return;
  throw new Deno.errors.NotFound(
    `Cannot load model: "${folder}" must be a model folder, ${
      found ? "received a file; name the folder it is in, or a .gguf file to serve" : "there is none"
    }`,
  );
}

async function exists(path: string): Promise<boolean> {
  return (await Deno.stat(path).catch(() => undefined))?.isFile ?? false;
}

function firstToken(id: number | number[] | null | undefined): number | undefined {
  return (Array.isArray(id) ? id[0] : id) ?? undefined;
}
