"""Convert a checkpoint of an H3 or Hyena language model, as its authors publish it, to a model folder.

    python tools/convert_checkpoint.py model.pt FOLDER [--tokenizer FOLDER] [--heads 12] [--context 2048] ...
    python tools/convert_checkpoint.py --self-test

Reads `.pt`, `.pth`, `.ckpt` and `.bin` (pickles; code in them is refused, never run) and `.safetensors`; needs torch,
numpy and safetensors. Writes config.json and model.safetensors, and copies the tokenizer's files. What is in the folder
then has one set of names however old the checkpoint is:

    backbone.layers.I.mixer.Wqkv, .out_proj       H3 layers have q, k and v stacked, as attention layers do
    backbone.layers.I.mixer.filter_fn.implicit_filter.1.freq      once, where the authors have it three times
    lm_head.weight                                only where it is not the embedding

State-space tensors and filters are F32, all others as they are stored.
"""

import argparse
import json
import math
import pickle
import re
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

EMBEDDING = "backbone.embeddings.word_embeddings.weight"
# Heads of the released H3 models by width and number of layers: no file says them.
RELEASED_HEADS = {(768, 12): 12, (1024, 24): 16, (2048, 24): 16, (2560, 32): 20}
# Trained on sequences of this many tokens; nothing in the architecture ends there.
H3_CONTEXT = 2048
ROTARY_BASE = 10_000.0
GPT2_TOKENS, GPT2_END = 50_257, 50_256
DNA_ROWS, DNA_END = 16, 1
# The configuration published with hyena-small-150b-tok has the filters' window off, that of its training on.
UNMODULATED_RELEASE = (864, 18)
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json"]
KEPT_IN_F32 = re.compile(
    r"\.mixer\.(ssm_k_kernel\.|kernel\.|ssm_k_D$|D$|filter_fn\.)|\.norm[12]\.|\.ln_f\.",
)


class ConversionError(Exception):
    """What is wrong with which file, and what to do about it."""


def main() -> None:
    options = parse_arguments()
    if options.self_test:
        from convert_checkpoint_self_test import run_self_test

        sys.exit(run_self_test())
    try:
        convert(options.checkpoint, options.folder, options)
    except ConversionError as error:
        sys.exit(f"Cannot convert: {error}")


def parse_arguments(arguments: list | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("folder", type=Path, nargs="?", help="where to write; made if there is none")
    parser.add_argument("--tokenizer", type=Path, help="folder with the tokenizer.json that the model was trained with")
    parser.add_argument("--heads", type=int, help="attention heads (H3; known for the released models)")
    parser.add_argument("--context", type=int, help="positions to serve (H3), or that filters are made for (Hyena)")
    parser.add_argument("--eos-token", type=int, help="id of the token that ends a text (known for GPT-2's and DNA)")
    parser.add_argument("--filter-shift", type=float, help="added to the window of Hyena's filters (0; DNA: 0.05)")
    parser.add_argument(
        "--filter-window", choices=["on", "off"], help="whether Hyena's filters have a window (on; small-150b: off)"
    )
    parser.add_argument("--self-test", action="store_true", help="convert small models in every layout, and compare")
    options = parser.parse_args(arguments)
    if not options.self_test and (options.checkpoint is None or options.folder is None):
        parser.error("a checkpoint and a folder are needed")
    return options


def convert(checkpoint: Path, folder: Path, options: argparse.Namespace) -> None:
    tensors = rename(unwrap(read_checkpoint(checkpoint), checkpoint), checkpoint)
    if any(name.endswith(".mixer.filter_fn.bias") for name in tensors):
        config, tensors = convert_hyena(tensors, checkpoint, options)
    elif any(name.endswith(".mixer.kernel.kernel.C") for name in tensors):
        config, tensors = convert_h3(tensors, checkpoint, options)
    else:
        raise ConversionError(
            f"{checkpoint}: no layer is H3's (mixer.kernel.kernel.C) or Hyena's (mixer.filter_fn.bias); "
            f"its first tensors are {', '.join(list(tensors)[:4]) or 'none'}"
        )
    config["eos_token_id"] = end_token(config["vocab_size"], checkpoint, options)
    write_folder(folder, config, tensors, options.tokenizer)


def read_checkpoint(path: Path) -> dict:
    if not path.is_file():
        raise ConversionError(f"{path}: there is no such file; give the file itself, not its folder")
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = re.search(r"(?:GLOBAL|global) (\S+)", str(error))
        raise ConversionError(
            f"{path}: it holds more than tensors ({reason.group(1) if reason else 'objects'}), and reading those would "
            "run code from the file. Where you trust its source, save the tensors alone, in a process that may be "
            "lost: torch.save(torch.load(path, weights_only=False)['state_dict'], 'tensors.pt')"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise ConversionError(f"{path}: it cannot be read as a PyTorch file ({error}); download it again") from error
    if not isinstance(loaded, dict):
        raise ConversionError(f"{path}: it must hold a dictionary of tensors, it holds a {type(loaded).__name__}")
    return loaded


def unwrap(loaded: dict, path: Path) -> dict:
    """The model's tensors out of what a trainer saved: `state_dict`, and of that what begins with `model.`."""
    tensors = loaded.get("state_dict", loaded)
    if any(name.startswith("model.") for name in tensors):
        tensors = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise ConversionError(f"{path}: {name} must be a tensor, it is a {type(tensor).__name__}")
    return tensors


# Older names first; each rule sees what those before it made.
RENAMES = [
    (r"^hyena\.backbone\.", "backbone."),
    (r"^s4seq\.encoder\.", "backbone."),
    (r"^embedding\.", "backbone.embeddings.word_embeddings."),
    (r"^backbone\.norm\.", "backbone.ln_0."),
    # Checkpoints made with activation checkpointing wrap mixer and MLP.
    (r"^(backbone\.layers\.\d+\.(?:mixer|mlp))\.layer\.", r"\1."),
    (r"^(backbone\.layers\.\d+\.mixer)\.output_linear\.", r"\1.out_proj."),
]


def rename(tensors: dict, path: Path) -> dict:
    renamed = {}
    for name, tensor in tensors.items():
        new = name
        for pattern, replacement in RENAMES:
            new = re.sub(pattern, replacement, new)
        if new in renamed:
            raise ConversionError(f"{path}: it has {new} under two names, the second is {name}; it mixes two models")
        renamed[new] = tensor
    if "backbone.ln_0.weight" in renamed:
        renamed = unshift_norms(renamed, path)
    return renamed


def unshift_norms(tensors: dict, path: Path) -> dict:
    """
    In the old order of a block (mixer, add, norm) each norm is stored with what comes before it; now with what comes
    after it. Read without this the model runs and is wrong.
    """
    last = num_layers(tensors) - 1
    new_name = {"backbone.ln_0": "backbone.layers.0.norm1", f"backbone.layers.{last}.norm2": "backbone.ln_f"}
    for i in range(last + 1):
        new_name[f"backbone.layers.{i}.norm1"] = f"backbone.layers.{i}.norm2"
        if i < last:
            new_name[f"backbone.layers.{i}.norm2"] = f"backbone.layers.{i + 1}.norm1"
    if "backbone.ln_f.weight" in tensors:
        raise ConversionError(f"{path}: it has the old first norm (ln_0) and the new last one (ln_f); one is left over")
    shifted = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        shifted[f"{new_name.get(module, module)}.{kind}"] = tensor
    return shifted


def num_layers(tensors: dict) -> int:
    indices = [int(found.group(1)) for name in tensors if (found := re.match(r"backbone\.layers\.(\d+)\.", name))]
    return max(indices, default=-1) + 1


class Reader:
    """Takes tensors by name, checking shapes, and tells in the end which nobody took."""

    def __init__(self, tensors: dict, path: Path):
        self.left, self.path, self.taken = dict(tensors), path, {}

    def shape(self, name: str) -> tuple:
        if name not in self.left:
            raise ConversionError(f"{self.path}: tensor {name} is missing; the file is cut short or of another model")
        return tuple(self.left[name].shape)

    def drop(self, name: str) -> torch.Tensor | None:
        return self.left.pop(name, None)

    def take(self, name: str, *shape: int, new_name: str | None = None) -> torch.Tensor:
        found = self.shape(name)
        if found != shape:
            raise ConversionError(f"{self.path}: tensor {name} must have shape {list(shape)}, it has {list(found)}")
        tensor = self.left.pop(name)
        if KEPT_IN_F32.search(name) or tensor.dtype == torch.float64:
            tensor = tensor.float()
        self.taken[new_name or name] = tensor.contiguous().clone()
        return tensor

    def take_linear(self, name: str, rows: int, columns: int) -> None:
        self.take(f"{name}.weight", rows, columns)
        self.take(f"{name}.bias", rows)

    def take_norm(self, name: str, width: int) -> None:
        self.take(f"{name}.weight", width)
        self.take(f"{name}.bias", width)

    def finish(self) -> dict:
        if self.left:
            names = sorted(self.left)
            raise ConversionError(
                f"{self.path}: {len(names)} tensors are of no use to this architecture, so it is another one: "
                f"{', '.join(names[:4])}"
            )
        return self.taken


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


def take_shared(reader: Reader, rows: int, width: int, layers: int) -> int:
    """Embedding, norms, MLPs, and the head where it is its own; returns the MLPs' inner width."""
    embedding = reader.take(EMBEDDING, rows, width)
    inner = reader.shape("backbone.layers.0.mlp.fc1.weight")[0]
    for i in range(layers):
        at = f"backbone.layers.{i}"
        reader.take_norm(f"{at}.norm1", width)
        reader.take_norm(f"{at}.norm2", width)
        reader.take_linear(f"{at}.mlp.fc1", inner, width)
        reader.take_linear(f"{at}.mlp.fc2", width, inner)
    reader.take_norm("backbone.ln_f", width)
    if "lm_head.weight" in reader.left:
        head = reader.take("lm_head.weight", rows, width)
        if torch.equal(head, embedding):
            del reader.taken["lm_head.weight"]
    return inner


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


def end_token(rows: int, path: Path, options: argparse.Namespace) -> int:
    if options.eos_token is not None:
        return options.eos_token
    if rows == DNA_ROWS:
        return DNA_END
    if rows >= GPT2_TOKENS and rows - GPT2_TOKENS < 128:
        return GPT2_END
    raise ConversionError(
        f"{path}: its embedding has {rows} rows, so its tokenizer is not GPT-2's; say which token ends a text with "
        "--eos-token"
    )


def write_folder(folder: Path, config: dict, tensors: dict, tokenizer: Path | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in TOKENIZER_FILES:
        if tokenizer is not None and (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)
    parameters = sum(math.prod(tensor.shape) for tensor in tensors.values())
    print(f"{folder}: {config['model_type']}, {parameters:,} parameters")
    if not (folder / "tokenizer.json").is_file():
        print("no tokenizer.json in it yet; copy the one that the model was trained with (H3 and Hyena: GPT-2's)")


if __name__ == "__main__":
    main()
