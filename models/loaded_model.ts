// What loading a model gives the engine, and what it takes: the wall between `load_model.ts` and the engine. Types
// only.
import type { KvType } from "../kernels/attention/kv_layout.ts";
import type { FileFormat } from "./checkpoint.ts";
import type { ModelRunner } from "./runner.ts";

/** Plain data, so that it can be sent to the thread that loads. */
export interface LoadOptions {
  /** Folder with config.json, tokenizer.json and safetensors; or a GGUF file. */
  readonly modelDir: string;
  readonly device: "auto" | "dawn" | "webgpu" | "cpu" | "onnx";
  /** safe: nothing switched off (tests, debugging). fast: the provider's checks are off where it allows that. */
  readonly profile?: "safe" | "fast";
  /** Bytes of device memory for the KV cache; undefined: chosen from the device's limits. */
  readonly kvBytes?: number;
  /**
   * Bytes of host memory for blocks that have to give way on a GPU; undefined: a share of what is free, if moving them
   * is measured to be cheaper than computing them.
   */
  readonly hostBytes?: number;
  /** Most tokens in one step. */
  readonly maxBatchTokens?: number;
  /** Most sequences in one step. */
  readonly maxSequences?: number;
  /** Storage of float weights on a GPU; undefined: as in the checkpoint. */
  readonly storage?: "f32" | "f16";
  /**
   * Storage of the KV cache on a GPU; undefined: f16 for f16 weights and, in the fast profile, for quantised ones without
   * histories of convolutions; else f32.
   */
  readonly kvType?: KvType;
  /** How exact long convolutions sum what earlier tokens add; undefined: as the context's length decides. */
  readonly longConvolutions?: "direct" | "online";
  /** CPU threads; undefined: all cores, 16 at most. */
  readonly numThreads?: number;
  /** Treat a GPU's bindings as limited to this many bytes (tests of sharded weights). */
  readonly maxBindingBytes?: number;
}

/** Called with the share of the weights that are loaded, 0 to 1. */
export type OnProgress = (progress: number) => void;

export interface LoadedModel {
  readonly runner: ModelRunner;
  readonly architecture: string;
  readonly fileFormat: FileFormat;
  /** Positions the model has: the hard limit for prompt and completion together. */
  readonly contextLength: number;
  /** Rows of the output head; ids at or above the tokenizer's last are padding. */
  readonly vocabSize: number;
  /** Channels of a token on its way through the layers. */
  readonly width: number;
  readonly numParameters: number;
  /** Bytes of the checkpoint's tensors. */
  readonly weightBytes: number;
  readonly backend: string;
  readonly adapter: string;
  /** From config.json or generation_config.json; the engine prefers the tokenizer's own end-of-text where it is not in the vocabulary. */
  readonly eosTokenId: number;
  /** Never drawn; the runner masks them. */
  readonly suppressedTokens: readonly number[];
  /** Whether infills are the better for token healing, as generation_config.json says; absent: they are not. */
  readonly healsInfills?: boolean;
  /** tokenizer.json and tokenizer_config.json as parsed; the latter `{}` where it is missing. */
  readonly tokenizer: { readonly tokenizerJson: unknown; readonly tokenizerConfig: unknown };
}
