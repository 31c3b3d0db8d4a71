"""Model folders as the server loads them: config.json, tokenizer files and model.safetensors in the published layouts, read
back as well to train on."""
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from decoder import Decoder, Size
from sizes import build

# Our names to the published ones, longest first.
STARCODER_NAMES = {
    "embedding": "transformer.wte.weight",
    "position": "transformer.wpe.weight",
    "final_norm": "transformer.ln_f",
    "layers": "transformer.h",
    "norm1": "ln_1",
    "norm2": "ln_2",
    "mixer.inputs": "attn.c_attn",
    "mixer.out": "attn.c_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
LONG_CONVOLUTION_NAMES = {
    "embedding": "backbone.embeddings.word_embeddings.weight",
    "final_norm": "backbone.ln_f",
    "layers": "backbone.layers",
    "mixer.out": "mixer.out_proj",
}
H3_NAMES = LONG_CONVOLUTION_NAMES | {
    "mixer.inputs": "mixer.Wqkv",
    "mixer.shift_b": "mixer.ssm_k_kernel.kernel.B",
    "mixer.shift_c": "mixer.ssm_k_kernel.kernel.C",
    "mixer.shift_skip": "mixer.ssm_k_D",
    "mixer.log_dt": "mixer.kernel.kernel.log_dt",
    "mixer.inv_a_real": "mixer.kernel.kernel.inv_A_real",
    "mixer.a_imag": "mixer.kernel.kernel.A_imag",
    "mixer.b": "mixer.kernel.kernel.B",
    "mixer.c": "mixer.kernel.kernel.C",
    "mixer.skip": "mixer.D",
}
HYENA_NAMES = LONG_CONVOLUTION_NAMES | {
    "mixer.inputs": "mixer.in_proj",
    "mixer.short_weight": "mixer.short_filter.weight",
    "mixer.short_bias": "mixer.short_filter.bias",
    "mixer.long.skip": "mixer.filter_fn.bias",
    "mixer.long.frequency": "mixer.filter_fn.implicit_filter.1.freq",
    "mixer.long.sines.0": "mixer.filter_fn.implicit_filter.0",
    "mixer.long.sines.1": "mixer.filter_fn.implicit_filter.2",
    "mixer.long.sines.2": "mixer.filter_fn.implicit_filter.4",
    "mixer.long.output": "mixer.filter_fn.implicit_filter.6.weight",
}
NAMES = {"starcoder": STARCODER_NAMES, "h3": H3_NAMES, "hyena": HYENA_NAMES}
# Stored with a first dimension of 1.
BATCHED = ("ssm_k_kernel.kernel.C", "mixer.kernel.kernel.C")
# What exponentials and angles are made of, and filters' networks, half precision would blur.
EXACT = ("log_dt", "inv_a_real", "a_imag", "long.", "skip")

CONTROL_IDS = list(range(1, 19))


def published_name(name: str, architecture: str) -> str:
    """layers.3.mixer.out.weight -> transformer.h.3.attn.c_proj.weight"""
    parts, found, names = name.split("."), [], NAMES[architecture]
    while parts:
        for count in range(len(parts), 0, -1):
            known = names.get(".".join(parts[:count]))
            if known or count == 1:
                found.append(known or parts[0])
                parts = parts[count:]
                break
    return ".".join(found)


def published_tensors(model: Decoder) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, parameter in model.named_parameters():
        published = published_name(name, model.size.architecture)
        exact = any(part in name for part in EXACT)
        tensor = parameter.detach().cpu().to(torch.float32 if exact else torch.float16)
        tensors[published] = (tensor[None] if published.endswith(BATCHED) else tensor).contiguous()
    return tensors


def config_of(size: Size) -> dict:
    common = {"vocab_size": size.vocabulary, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "eos_token_id": 0}
    if size.architecture == "starcoder":
        return common | {
            "architectures": ["GPTBigCodeForCausalLM"], "model_type": "gpt_bigcode", "bos_token_id": 0,
            "n_embd": size.width, "n_head": size.heads, "n_inner": size.inner, "n_layer": size.layers,
            "n_positions": size.positions, "activation_function": "gelu_pytorch_tanh", "multi_query": True,
            "scale_attn_weights": True, "attn_pdrop": 0, "embd_pdrop": 0, "resid_pdrop": 0, "torch_dtype": "float16",
        }
    if size.architecture == "h3":
        from h3 import TAPS

        return common | {
            "model_type": "h3", "hidden_size": size.width, "num_hidden_layers": size.layers,
            "intermediate_size": size.inner, "attention_layers": list(size.attention_layers),
            "num_attention_heads": size.heads, "rotary_dims": 0, "state_size": TAPS,
            "max_position_embeddings": size.positions,
        }
    from hyena import FEATURES, FILTER_WIDTH, INNER_LAYERS, SHORT_TAPS

    return common | {
        "model_type": "hyena", "d_model": size.width, "n_layer": size.layers, "d_inner": size.inner, "hyena_order": 2,
        "max_seq_len": size.positions, "emb_dim": FEATURES, "filter_order": FILTER_WIDTH,
        "num_inner_mlps": INNER_LAYERS, "short_filter_order": SHORT_TAPS, "filter_window": True, "filter_shift": 0.0,
    }


def size_of(config: dict) -> Size:
    """The same, back."""
    if config["model_type"] == "gpt_bigcode":
        return Size("starcoder", config["vocab_size"], config["n_positions"], config["n_embd"], config["n_layer"],
                    config["n_inner"], config["n_head"])
    if config["model_type"] == "h3":
        return Size("h3", config["vocab_size"], config["max_position_embeddings"], config["hidden_size"],
                    config["num_hidden_layers"], config["intermediate_size"], config["num_attention_heads"],
                    tuple(config["attention_layers"]))
    return Size("hyena", config["vocab_size"], config["max_seq_len"], config["d_model"], config["n_layer"], config["d_inner"])


def save_model(model: Decoder, tokenizer_file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Never half a file under the model's name, whoever stops the run.
    save_file(published_tensors(model), folder / "model.safetensors.partial", {"format": "pt"})
    (folder / "model.safetensors.partial").rename(folder / "model.safetensors")
    write_json(folder / "config.json", config_of(model.size))
    # Control tokens are never drawn outside of prompts; what token healing gains is in README.md.
    write_json(folder / "generation_config.json", {
        "eos_token_id": 0, "infill_token_healing": True, "suppress_tokens": CONTROL_IDS,
    })
    write_json(folder / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False, "model_max_length": model.size.positions,
    })
    shutil.copyfile(tokenizer_file, folder / "tokenizer.json")


def load_model(folder: Path) -> Decoder:
    """In f32; int8 folders, too."""
    model = build(size_of(json.loads((folder / "config.json").read_text())))
    tensors = load_file(folder / "model.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            published = published_name(name, model.size.architecture)
            tensor = tensors[published].float()
            scale = tensors.get(f"{published}_scale")
            parameter.copy_((tensor if scale is None else tensor * scale[:, None]).view(parameter.shape))
    return model


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
