"""What makes an H3 checkpoint a model folder: its configuration, which no file says, and its tensors' one form."""

import argparse
from pathlib import Path

import torch

from checkpoint_tensors import EMBEDDING, ConversionError, Reader, num_layers, take_shared

# Heads of the released H3 models by width and number of layers: no file says them.
RELEASED_HEADS = {(768, 12): 12, (1024, 24): 16, (2048, 24): 16, (2560, 32): 20}
# Trained on sequences of this many tokens; nothing in the architecture ends there.
H3_CONTEXT = 2048
ROTARY_BASE = 10_000.0


def convert_h3(tensors: dict, path: Path, options: argparse.Namespace) -> tuple:
    reader, layers = Reader(tensors, path), num_layers(tensors)
    rows, width = reader.shape(EMBEDDING)
    attention = [i for i in range(layers) if f"backbone.layers.{i}.mixer.kernel.kernel.C" not in tensors]
    heads = heads_of(width, layers, attention, path, options)
    rotary = {rotary_dims(reader, f"backbone.layers.{i}.mixer", width // heads) for i in attention}
    if len(rotary) > 1:
        raise ConversionError(f"{path}: some attention layers have rotary_emb.inv_freq, others not; it is cut short")
    states = state_size(reader)
    inner = take_shared(reader, rows, width, layers)
    for i in range(layers):
        at = f"backbone.layers.{i}.mixer"
        if i in attention:
            reader.take_linear(f"{at}.Wqkv", 3 * width, width)
        else:
            take_h3_mixer(reader, at, width, states)
        reader.take_linear(f"{at}.out_proj", width, width)
    config = {
        "model_type": "h3",
        "vocab_size": rows,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": inner,
        "attention_layers": attention,
        "num_attention_heads": heads,
        "rotary_dims": next(iter(rotary), 0),
        "state_size": states,
        "max_position_embeddings": options.context or H3_CONTEXT,
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": "lm_head.weight" not in reader.taken,
    }
    return config, reader.finish()


def heads_of(width: int, layers: int, attention: list, path: Path, options: argparse.Namespace) -> int:
    heads = options.heads or RELEASED_HEADS.get((width, layers)) or (None if attention else 1)
    if heads is None:
        raise ConversionError(
            f"{path}: it is none of the released models ({layers} layers, width {width}) and a file does not say how "
            "many attention heads it has; give them with --heads"
        )
    if heads < 1 or width % heads:
        raise ConversionError(f"{path}: the width {width} must be a multiple of --heads, which is {heads}")
    return heads


def rotary_dims(reader: Reader, mixer: str, head_size: int) -> int:
    """How many dimensions of a head are turned by position: twice the stored frequencies, which must be the usual."""
    frequencies = reader.drop(f"{mixer}.rotary_emb.inv_freq")
    if frequencies is None:
        return 0
    half = len(frequencies)
    usual = ROTARY_BASE ** (-torch.arange(half, dtype=torch.float64) / half)
    if 2 * half > head_size or not torch.allclose(frequencies.double(), usual, rtol=1e-2):
        raise ConversionError(
            f"{reader.path}: {mixer}.rotary_emb.inv_freq has {half} frequencies; at most {head_size // 2}, falling from "
            f"1 by powers of {ROTARY_BASE:.0f}, can be served. If the head size is wrong, give --heads"
        )
    return 2 * half


def state_size(reader: Reader) -> int:
    """Real states a channel: taps of the shift SSM, and twice the modes of the diagonal one, stored by conjugate pairs."""
    name = next(name for name in reader.left if name.endswith(".mixer.kernel.kernel.C"))
    return 2 * reader.shape(name)[-2]


def take_h3_mixer(reader: Reader, at: str, width: int, states: int) -> None:
    channels = reader.shape(f"{at}.D")[0]
    if channels != width:
        raise ConversionError(
            f"{reader.path}: {at}.D has {channels} channels of {width}: models with head_dim above 1 are not supported"
        )
    if f"{at}.q_proj.weight" in reader.left:
        stack_projections(reader, at, width)
    else:
        reader.take_linear(f"{at}.Wqkv", 3 * width, width)
    modes = states // 2
    reader.take(f"{at}.ssm_k_kernel.kernel.B", width, states)
    reader.take(f"{at}.ssm_k_kernel.kernel.C", 1, width, states)
    reader.take(f"{at}.ssm_k_D", width)
    reader.take(f"{at}.kernel.kernel.log_dt", width)
    for name in ("inv_A_real", "A_imag"):
        reader.take(f"{at}.kernel.kernel.{name}", width, modes)
    reader.take(f"{at}.kernel.kernel.B", width, modes, 2)
    reader.take(f"{at}.kernel.kernel.C", 1, width, modes, 2)
    reader.take(f"{at}.D", width)


def stack_projections(reader: Reader, at: str, width: int) -> None:
    for part in "qkv":
        reader.take_linear(f"{at}.{part}_proj", width, width)
    for kind in ("weight", "bias"):
        stacked = torch.cat([reader.taken.pop(f"{at}.{part}_proj.{kind}") for part in "qkv"])
        reader.taken[f"{at}.Wqkv.{kind}"] = stacked
