"""Reads a Hyades or Hugging Face GPTBigCode folder, so that every peer runs the very weights we run.

Int8 weights (quantization_config.quant_method "hyades": X I8 [out, in] with X_scale F32 [out]) are dequantised to f32,
which no other library could read as they are; int4 ones (docs/quantisation.md) become int8 first, exactly.

    python checkpoint.py MODEL_DIR OUT_DIR [--dtype float32]     # writes an ordinary Hugging Face folder
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def load_config(model_dir):
    """config.json without the quantisation that load_state() undoes."""
    config = json.loads((Path(model_dir) / "config.json").read_text())
    config.pop("quantization_config", None)
    return config


def load_tensors(model_dir, device="cpu"):
    """All tensors by name, as the files hold them."""
    state = {}
    for file in sorted(Path(model_dir).glob("*.safetensors")):
        with safe_open(file, "pt", device=device) as tensors:
            state |= {name: tensors.get_tensor(name) for name in tensors.keys()}
    return unpack_int4(state, load_config(model_dir))


def unpack_int4(state, config):
    """The state with every int4 tensor as the int8 one that it stands for: its q times its group's multiplier."""
    for name in [name for name in state if f"{name}_multiplier" in state]:
        multipliers = state.pop(f"{name}_multiplier")
        low = state[name].to(torch.int8) << 4 >> 4
        high = state[name].to(torch.int8) >> 4
        q = torch.stack([low, high], -1).reshape(*multipliers.shape, 32)
        width = config["n_embd"]
        columns = (config.get("n_inner") or 4 * width) if name.endswith("mlp.c_proj.weight") else width
        state[name] = (q * multipliers[..., None]).flatten(1)[:, :columns].contiguous()
    return state


def load_int8(model_dir):
    """The int8 tensors by name, each with its scales [out]."""
    state = load_tensors(model_dir)
    return {name: (tensor, state[f"{name}_scale"]) for name, tensor in state.items() if tensor.dtype == torch.int8}


def load_state(model_dir, dtype=None, device="cpu"):
    """All tensors by name; int8 ones times their scales. `dtype` None keeps what the file holds."""
    state = load_tensors(model_dir, device)
    for name in [name for name in state if state[name].dtype == torch.int8]:
        scale = state.pop(f"{name}_scale")
        state[name] = state[name].float() * scale[:, None]
    return {name: tensor.to(dtype or tensor.dtype) for name, tensor in state.items()}


def write_folder(model_dir, out_dir, dtype):
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    config = load_config(model_dir) | {"torch_dtype": str(dtype).removeprefix("torch.")}
    (out / "config.json").write_text(json.dumps(config, indent=2))
    state = {name: tensor.contiguous() for name, tensor in load_state(model_dir, dtype).items()}
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("out_dir")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    args = parser.parse_args()
    write_folder(args.model_dir, args.out_dir, getattr(torch, args.dtype))


if __name__ == "__main__":
    main()
