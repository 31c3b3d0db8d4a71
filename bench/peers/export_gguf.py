"""Writes a GPTBigCode checkpoint as GGUF (architecture "starcoder", with its tokenizer) for llama.cpp's server.

q8_0 holds our int8 weights as they are: 32 of them share a scale, here their row's, rounded to f16. Weights that are
floats in the checkpoint are quantised by blocks of 32, as llama.cpp does it. q8_0 rounds activations to 8 bits as
well when it multiplies; f16 rounds them to f16. Norms, biases and positions stay f32 in every form.

    python export_gguf.py MODEL_DIR OUT.gguf [--dtype q8_0|f16|bf16|f32]      needs torch safetensors gguf
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type

from checkpoint import load_config, load_int8, load_state

TYPES = {
    "f32": (Type.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (Type.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bf16": (Type.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (Type.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
Q8_0_BLOCK = 32
SMALLEST_NORMAL_F16 = 2.0**-14
# llama.cpp's graph for this architecture has the tanh form of GELU and scores over sqrt(head size), whatever a file says.
TANH_GELU = ("gelu_pytorch_tanh", "gelu_fast", "gelu_new")
# By StarCoder's and SantaCoder's names. llama.cpp also ends a completion at the pad token, as we never draw it.
FIM_TOKENS = {"pre": "fim{}prefix", "suf": "fim{}suffix", "mid": "fim{}middle", "pad": "fim{}pad"}


def gguf_name(name):
    """transformer.h.3.mlp.c_fc.weight -> blk.3.ffn_up.weight"""
    name = name.removeprefix("transformer.")
    for old, new in {
        "wte.": "token_embd.", "wpe.": "position_embd.", "ln_f.": "output_norm.", "h.": "blk.", "ln_1.": "attn_norm.",
        "attn.c_attn.": "attn_qkv.", "attn.c_proj.": "attn_output.", "ln_2.": "ffn_norm.", "mlp.c_fc.": "ffn_up.",
        "mlp.c_proj.": "ffn_down.",
    }.items():
        name = name.replace(old, new)
    return name


def split_heads(array, config):
    """Rows of c_attn as [all q | all k | all v]; multi-head files have q, k and v of one head after the other."""
    if config.get("multi_query", True):
        return array
    heads, size = config["n_head"], config["n_embd"] // config["n_head"]
    return array.reshape(heads, 3, size, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)


def q8_0_blocks(int8, scale):
    """[out, in] int8 and [out] scales as Q8_0's bytes: every block its row's scale (f16), then 32 int8."""
    rows, columns = int8.shape
    used = scale[np.abs(int8).max(axis=1) > 0]
    if columns % Q8_0_BLOCK or used.min() < SMALLEST_NORMAL_F16 or used.max() > np.finfo(np.float16).max:
        return None
    scales = np.broadcast_to(scale.astype("<f2")[:, None, None], (rows, columns // Q8_0_BLOCK, 1))
    values = int8.reshape(rows, columns // Q8_0_BLOCK, Q8_0_BLOCK)
    return np.concatenate([np.ascontiguousarray(scales).view(np.uint8), values.view(np.uint8)], axis=2).reshape(rows, -1)


def add_tensors(writer, model_dir, config, dtype):
    quantised = load_int8(model_dir)
    for name, tensor in load_state(model_dir).items():
        if name == "lm_head.weight":
            continue
        array = (tensor if (tensor.dtype, dtype) == (torch.float16, Type.F16) else tensor.float()).numpy()
        part = (lambda rows: split_heads(rows, config)) if ".c_attn." in name else (lambda rows: rows)
        if array.ndim == 1 or name.endswith("wpe.weight") or dtype == Type.F32:
            writer.add_tensor(gguf_name(name), part(array.astype(np.float32, copy=False)))
            continue
        blocks = None
        if dtype == Type.Q8_0 and name in quantised:
            int8, scale = quantised[name]
            blocks = q8_0_blocks(part(int8.numpy()), part(scale.numpy()))
        data = gguf.quants.quantize(part(array), dtype) if blocks is None else blocks
        writer.add_tensor(gguf_name(name), data, raw_dtype=dtype)


def add_config(writer, config, file_type):
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_head_count(config["n_head"])
    writer.add_head_count_kv(1 if config.get("multi_query", True) else config["n_head"])
    writer.add_layer_norm_eps(config.get("layer_norm_epsilon", 1e-5))
    writer.add_file_type(file_type)


def add_tokenizer(writer, model_dir, config):
    """Byte-level BPE, split as StarCoder's is: each digit alone, then GPT-2's expression. llama.cpp has no name for how our own
    tokenizer splits, so with it such a file's prompts are other tokens than ours: its speed can be compared, its text cannot."""
    tokenizer = json.loads((Path(model_dir) / "tokenizer.json").read_text())
    if not tokenizer["model"]["vocab"]:  # bench/gpu/make_checkpoint.py's models are driven by token ids.
        writer.add_vocab_size(config["vocab_size"])
        return writer.add_tokenizer_model("no_vocab")
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    texts = {index: text for text, index in (tokenizer["model"]["vocab"] | added).items()}
    rows = range(config["vocab_size"])
    control, normal, unused = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL, gguf.TokenType.UNUSED
    writer.add_tokenizer_model("gpt2")
    if "Digits" not in json.dumps(tokenizer["pre_tokenizer"]):
        print("note: llama.cpp will split words as StarCoder does, this tokenizer splits them otherwise: compare speed only")
    writer.add_tokenizer_pre("starcoder")
    writer.add_token_list([texts.get(i, f"[PAD{i}]") for i in rows])
    writer.add_token_types([control if texts.get(i) in added else normal if i in texts else unused for i in rows])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_eot_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)
    for part, text in FIM_TOKENS.items():
        index = next((added[name] for c in "_-" if (name := f"<{text.format(c)}>") in added), None)
        if index is not None:
            writer.add_uint32(f"tokenizer.ggml.fim_{part}_token_id", index)


def require_supported(config):
    if config.get("activation_function", TANH_GELU[0]) not in TANH_GELU:
        raise SystemExit(f"llama.cpp computes GELU in its tanh form only: activation_function must be one of {TANH_GELU}")
    if not config.get("scale_attn_weights", True):
        raise SystemExit("llama.cpp always scales the attention scores: scale_attn_weights must be true")
    if not config.get("tie_word_embeddings", True):
        raise SystemExit("this script writes tied heads only: tie_word_embeddings must be true")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("out")
    parser.add_argument("--dtype", default="q8_0", choices=TYPES)
    args = parser.parse_args()
    dtype, file_type = TYPES[args.dtype]
    config = load_config(args.model_dir)
    require_supported(config)
    writer = gguf.GGUFWriter(args.out, "starcoder")
    writer.add_name(Path(args.model_dir).resolve().name)
    add_config(writer, config, file_type)
    add_tokenizer(writer, args.model_dir, config)
    add_tensors(writer, args.model_dir, config, dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
