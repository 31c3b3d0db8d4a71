"""The tensors of a checkpoint as its authors publish it, under one set of names, taken one by one and checked."""

import pickle
import re
from pathlib import Path

import torch
from safetensors.torch import load_file

EMBEDDING = "backbone.embeddings.word_embeddings.weight"
KEPT_IN_F32 = re.compile(
    r"\.mixer\.(ssm_k_kernel\.|kernel\.|ssm_k_D$|D$|filter_fn\.)|\.norm[12]\.|\.ln_f\.",
)


class ConversionError(Exception):
    """What is wrong with which file, and what to do about it."""


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
