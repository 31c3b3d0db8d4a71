// What GGUF files of the architectures that are served say in their own words, as the config.json and the tensors' names
// that Hugging Face's folders have. The words are those of llama.cpp's converter (gguf-py, constants.py).
import { z } from "zod";
import { parseConfig } from "../config.ts";
import type { GgufHeader } from "./gguf_header.ts";
import type { NameOf } from "./gguf_source.ts";

interface Dialect {
  /** The tensors outside of layers, and within; without ".weight" and ".bias". */
  readonly outside: Readonly<Record<string, string>>;
  readonly layers: string;
  readonly inside: Readonly<Record<string, string>>;
  config(header: GgufHeader, get: Get): Record<string, unknown>;
}

/** A field of the architecture's own, such as "block_count". */
type Get = (field: string) => number | undefined;

const LLAMA_LIKE = {
  outside: { "model.embed_tokens": "token_embd", "model.norm": "output_norm", lm_head: "output" },
  layers: "model.layers.",
};
const ATTENTION = {
  input_layernorm: "attn_norm",
  post_attention_layernorm: "ffn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
};

/** What converters leave out: every published StarCoder2 was trained with it. */
const STARCODER2_WINDOW = 4096;

const DIALECTS: Readonly<Record<string, Dialect>> = {
  starcoder: {
    outside: {
      "transformer.wte": "token_embd",
      "transformer.wpe": "position_embd",
      "transformer.ln_f": "output_norm",
      lm_head: "output",
    },
    layers: "transformer.h.",
    inside: {
      ln_1: "attn_norm",
      ln_2: "ffn_norm",
      "attn.c_attn": "attn_qkv",
      "attn.c_proj": "attn_output",
      "mlp.c_fc": "ffn_up",
      "mlp.c_proj": "ffn_down",
    },
    config: (header, get) => ({
      model_type: "gpt_bigcode",
      vocab_size: rowsOf(header),
      n_positions: get("context_length"),
      n_embd: get("embedding_length"),
      n_layer: get("block_count"),
      n_head: get("attention.head_count"),
      n_inner: get("feed_forward_length"),
      layer_norm_epsilon: get("attention.layer_norm_epsilon"),
      // Other than multi-query nobody writes, nor does llama.cpp read.
      multi_query: true,
      tie_word_embeddings: !header.tensors.has("output.weight"),
    }),
  },
  starcoder2: {
    ...LLAMA_LIKE,
    inside: { ...ATTENTION, "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down" },
    config: (header, get) => ({
      ...llamaLike("starcoder2", header, get),
      norm_epsilon: get("attention.layer_norm_epsilon"),
      sliding_window: get("attention.sliding_window") ?? STARCODER2_WINDOW,
      use_bias: header.tensors.has("blk.0.attn_output.bias"),
    }),
  },
  qwen2: {
    ...LLAMA_LIKE,
    inside: {
      ...ATTENTION,
      "mlp.gate_proj": "ffn_gate",
      "mlp.up_proj": "ffn_up",
      "mlp.down_proj": "ffn_down",
    },
    config: (header, get) => ({
      ...llamaLike("qwen2", header, get),
      rms_norm_eps: get("attention.layer_norm_rms_epsilon"),
    }),
  },
};

function llamaLike(architecture: string, header: GgufHeader, get: Get): Record<string, unknown> {
  const scaling = header.metadata[`${architecture}.rope.scaling.type`];
  return {
    model_type: architecture,
    vocab_size: rowsOf(header),
    max_position_embeddings: get("context_length"),
    hidden_size: get("embedding_length"),
    intermediate_size: get("feed_forward_length"),
    num_hidden_layers: get("block_count"),
    num_attention_heads: get("attention.head_count"),
    num_key_value_heads: get("attention.head_count_kv") ?? get("attention.head_count"),
    head_dim: get("attention.key_length"),
    rope_theta: get("rope.freq_base"),
    ...(scaling !== undefined && scaling !== "none" && { rope_scaling: { rope_type: scaling } }),
    tie_word_embeddings: !header.tensors.has("output.weight"),
  };
}

function rowsOf({ tensors }: GgufHeader): number | undefined {
  return tensors.get("token_embd.weight")?.shape[0];
}

export interface GgufModel {
  /** As config.json would have it; what the file does not say is left out. */
  readonly config: Record<string, unknown>;
  readonly nameOf: NameOf;
}

const headerSchema = z.looseObject({
  "general.architecture": z.enum(
    Object.keys(DIALECTS),
    `must be one of ${Object.keys(DIALECTS).join(", ")}`,
  ),
});

/** @throws {TypeError} naming the field of the metadata that is at fault */
export function ggufModel(header: GgufHeader, file: string): GgufModel {
  const { "general.architecture": architecture } = parseConfig(headerSchema, header.metadata, file);
  const dialect = DIALECTS[architecture];
  const get: Get = (field) => {
    const value = header.metadata[`${architecture}.${field}`];
    if (value === undefined || typeof value === "number" || typeof value === "bigint") {
      return value === undefined ? undefined : shortest(Number(value));
    }
    throw new TypeError(
      `Cannot load model: ${file}: "${architecture}.${field}": must be a number, received ${
        JSON.stringify(value)
      }`,
    );
  };
  const config = Object.fromEntries(
    Object.entries(dialect.config(header, get)).filter(([, value]) => value !== undefined),
  );
  return { config, nameOf: (name) => ggufName(dialect, name) };
}

/** The shortest number that is this one as f32, in which files have fractions: 1e-6 is to be 1e-6 again. */
function shortest(value: number): number {
  if (Number.isInteger(value) || value !== Math.fround(value)) return value;
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

function ggufName({ outside, layers, inside }: Dialect, name: string): string | undefined {
  const found = /^(.+)\.(weight|bias)$/.exec(name);
  if (!found) return undefined;
  const [, stem, kind] = found;
  if (stem in outside) return `${outside[stem]}.${kind}`;
  const layer = stem.startsWith(layers) ? /^(\d+)\.(.+)$/.exec(stem.slice(layers.length)) : null;
  return layer && layer[2] in inside ? `blk.${layer[1]}.${inside[layer[2]]}.${kind}` : undefined;
}
