// The models whose generation is compared: one width, depth and vocabulary, weights random. What mixes tokens differs.
import { weightsOf } from "../../../kernels/graph_weights.ts";
import type { TensorSource, WeightRef } from "../../../kernels/tensor_source.ts";
import { weightRefsOf } from "../../../models/decoder_layout.ts";
import { gptBigCode } from "../../../models/gpt_bigcode.ts";
import { h3Refs, parseH3Config } from "../../../models/h3.ts";
import { h3 } from "../../../models/h3_network.ts";
import type { LongConvolutionForm } from "../../../models/online_choice.ts";
import { hyenaRefs, parseHyenaConfig } from "../../../models/hyena.ts";
import { hyena } from "../../../models/hyena_network.ts";
import type { Network } from "../../../models/network.ts";
import { RandomWeights } from "./random_weights.ts";

export interface Sizes {
  readonly width: number;
  readonly layers: number;
  readonly contextLength: number;
}

export interface RandomModel {
  readonly network: Network;
  readonly weights: TensorSource;
}

const VOCABULARY = 49_152, HEAD_SIZE = 128, MODES = 16;

/** What is generated from nothing but the shape that kernels see. */
const NO_TENSORS: TensorSource = {
  find: () => undefined,
  readRows: () => Promise.reject(new TypeError("Cannot read: there are no tensors")),
  readRowsInto: () => Promise.reject(new TypeError("Cannot read: there are no tensors")),
};

export const FAMILIES: Readonly<Record<string, (sizes: Sizes) => Network>> = {
  "multi-head": (sizes) => starCoder(sizes, false),
  "multi-query": (sizes) => starCoder(sizes, true),
  h3: h3Hybrid,
  "hyena-modal": (sizes) => hyenaOf(sizes, { filter_modes: MODES }),
  "hyena-direct": (sizes) => hyenaOf(sizes, {}),
  "hyena-online": (sizes) => hyenaOf(sizes, {}),
};

/** How a family's exact long convolutions sum what earlier tokens add. */
export const LONG_CONVOLUTIONS: Readonly<Record<string, LongConvolutionForm>> = {
  "hyena-direct": "direct",
  "hyena-online": "online",
};

/** The network with random weights. What a family computes of its file is drawn as well, as it would be computed. */
export function randomModel(family: string, sizes: Sizes): RandomModel {
  const network = FAMILIES[family](sizes), uses = weightsOf(network.graph);
  const roles = new Map(uses.map(({ ref, role }) => [ref.name, role]));
  const weights = new RandomWeights(uses.map(({ ref }) => ref), ({ name }) => {
    const role = roles.get(name);
    return role === "vector" || role === "filter" ? role : "matrix";
  });
  return { network, weights };
}

function headsOf(width: number): number {
  return Math.max(1, width / HEAD_SIZE);
}

function starCoder({ width, layers, contextLength }: Sizes, multiQuery: boolean): Network {
  return gptBigCode.build({
    model_type: "gpt_bigcode",
    vocab_size: VOCABULARY,
    n_positions: contextLength,
    n_embd: width,
    n_layer: layers,
    n_head: headsOf(width),
    n_inner: 4 * width,
    multi_query: multiQuery,
  }, NO_TENSORS);
}

/** Attention in two layers, as the authors' model of this width has it (8 and 16 of 24). */
function h3Hybrid({ width, layers, contextLength }: Sizes): Network {
  const json = {
    model_type: "h3",
    vocab_size: VOCABULARY,
    hidden_size: width,
    num_hidden_layers: layers,
    intermediate_size: 4 * width,
    attention_layers: [...new Set([Math.floor(layers / 3), Math.floor(2 * layers / 3)])],
    num_attention_heads: headsOf(width),
    max_position_embeddings: contextLength,
  };
  return h3.build(json, shapesOf(weightRefsOf(h3Refs(parseH3Config(json)))));
}

function hyenaOf({ width, layers, contextLength }: Sizes, form: { readonly filter_modes?: number }): Network {
  const json = {
    model_type: "hyena",
    vocab_size: VOCABULARY,
    d_model: width,
    n_layer: layers,
    d_inner: 4 * width,
    max_seq_len: contextLength,
    emb_dim: 33,
    filter_order: 64,
    ...form,
  };
  return hyena.build(json, shapesOf(weightRefsOf(hyenaRefs(parseHyenaConfig(json), NO_TENSORS))));
}

/** Tensors of these shapes, for families that check them before anything is read. */
function shapesOf(refs: readonly WeightRef[]): TensorSource {
  return new RandomWeights(refs, () => "vector");
}
