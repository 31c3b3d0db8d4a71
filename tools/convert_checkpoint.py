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
import shutil
import sys
from pathlib import Path

from safetensors.torch import save_file

from checkpoint_tensors import ConversionError, read_checkpoint, rename, unwrap
from convert_h3 import convert_h3
from convert_hyena import DNA_ROWS, convert_hyena

GPT2_TOKENS, GPT2_END = 50_257, 50_256
DNA_END = 1
TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json"]


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
