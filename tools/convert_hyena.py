"""What makes a Hyena checkpoint a model folder: its configuration, most of which shapes tell, and its filters' one form."""

import argparse
import re
from pathlib import Path

import torch

from checkpoint_tensors import EMBEDDING, ConversionError, Reader, num_layers, take_shared

# Rows of the embedding of the models of DNA.
DNA_ROWS = 16
# The configuration published with hyena-small-150b-tok has the filters' window off, that of its training on.
UNMODULATED_RELEASE = (864, 18)


def convert_hyena(tensors: dict, path: Path, options: argparse.Namespace) -> tuple:
    reader, layers = Reader(tensors, path), num_layers(tensors)
    rows, width = reader.shape(EMBEDDING)
    first = "backbone.layers.0.mixer"
    order = reader.shape(f"{first}.in_proj.weight")[0] // width - 1
    if order != 2:
        raise ConversionError(
            f"{path}: Hyena of order {order}: authors' programs lay its filters out differently, so only order 2 is "
            "converted (all released models have it)"
        )
    facts = filter_facts(reader, f"{first}.filter_fn", options)
    inner = take_shared(reader, rows, width, layers)
    for i in range(layers):
        at = f"backbone.layers.{i}.mixer"
        reader.take_linear(f"{at}.in_proj", 3 * width, width)
        reader.take(f"{at}.short_filter.weight", 3 * width, 1, facts["short_filter_order"])
        reader.take(f"{at}.short_filter.bias", 3 * width)
        reader.take_linear(f"{at}.out_proj", width, width)
        take_filter(reader, f"{at}.filter_fn", width, facts)
    dna, small_150b = rows == DNA_ROWS, (width, layers) == UNMODULATED_RELEASE
    shift = options.filter_shift if options.filter_shift is not None else 0.05 if dna else 0.0
    config = {
        "model_type": "hyena",
        "vocab_size": rows,
        "d_model": width,
        "n_layer": layers,
        "d_inner": inner,
        "hyena_order": order,
        **facts,
        "filter_window": options.filter_window == "on" if options.filter_window else not small_150b,
        "filter_shift": shift,
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": "lm_head.weight" not in reader.taken,
    }
    return config, reader.finish()


def filter_facts(reader: Reader, at: str, options: argparse.Namespace) -> dict:
    """What shapes tell of the filters."""
    net = f"{at}.implicit_filter"
    linears = [name for name in reader.left if re.fullmatch(re.escape(net) + r"\.\d+\.bias", name)]
    filter_order, features = reader.shape(f"{net}.0.weight")
    z = reader.left.get(f"{at}.pos_emb.z")
    length = z.shape[1] if z is not None and z.dim() == 3 else options.context
    if length is None:
        raise ConversionError(
            f"{reader.path}: without {at}.pos_emb.z only the training configuration tells for how many positions "
            "filters were made (l_max); give it with --context"
        )
    if options.context not in (None, length):
        raise ConversionError(
            f"{reader.path}: its filters are made for {length} positions, which --context {options.context} would "
            "change; filters of another length are other filters"
        )
    return {
        "max_seq_len": length,
        "emb_dim": features,
        "filter_order": filter_order,
        "num_inner_mlps": len(linears) - 1,
        "short_filter_order": reader.shape(f"{at.removesuffix('.filter_fn')}.short_filter.weight")[-1],
    }


def take_filter(reader: Reader, at: str, width: int, facts: dict) -> None:
    net, hidden, features = f"{at}.implicit_filter", facts["filter_order"], facts["emb_dim"]
    inner = facts["num_inner_mlps"]
    reader.take_linear(f"{net}.0", hidden, features)
    for i in range(1, inner + 1):
        reader.take_linear(f"{net}.{2 * i}", hidden, hidden)
    reader.take(f"{net}.{2 * inner + 2}.weight", width, hidden)
    take_frequency(reader, net, hidden, inner)
    reader.take(f"{at}.bias", width)
    # A buffer that is the same in all models: j / (l_max - 1).
    reader.drop(f"{at}.pos_emb.t")
    if f"{at}.pos_emb.z" in reader.left:
        reader.take(f"{at}.pos_emb.z", 1, facts["max_seq_len"], features)
    if f"{at}.modulation.deltas" in reader.left:
        reader.take(f"{at}.modulation.deltas", 1, 1, width)


def take_frequency(reader: Reader, net: str, hidden: int, inner: int) -> None:
    """The sines' one vector, of which a file has a copy for each sine, or only one."""
    names = [f"{net}.{2 * i + 1}.freq" for i in range(inner + 1) if f"{net}.{2 * i + 1}.freq" in reader.left]
    if not names:
        raise ConversionError(f"{reader.path}: tensor {net}.1.freq is missing, and so are its copies")
    copies = [reader.take(name, 1, hidden, new_name=f"{net}.1.freq") for name in names]
    if any(not torch.equal(copy, copies[0]) for copy in copies):
        raise ConversionError(f"{reader.path}: {', '.join(names)} must be equal; the sines of a filter share one vector")
