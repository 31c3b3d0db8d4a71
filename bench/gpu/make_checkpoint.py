"""Writes a random GPTBigCode checkpoint with a fixed seed; StarCoderBase-1B's shape by default.

Linear weights are drawn wide (2 / sqrt(fan in)) so that the blocks outweigh the embedding in the residual stream:
with a tied head a small initialisation would repeat its last token for ever, and equal continuations would prove little.

f16, or with --int4 the form of docs/quantisation.md, its integers drawn as they are: for timing, and for whatever compares
two readers of one file. Each tensor is drawn by itself (where there is a GPU, on it) and written at its place, so that a
checkpoint may be larger than memory; shards are written side by side.

    python make_checkpoint.py OUT_DIR [--layers 24 --width 2048 --heads 16 --positions 8192 --vocab 49152 --seed 0]
                                      [--shard-gb 5] [--int4]
"""

import argparse
import json
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

GROUP = 32  # columns of an int4 matrix that share a multiplier
DTYPES = {"F16": torch.float16, "F32": torch.float32, "I8": torch.int8, "U8": torch.uint8}
FIRST_TOKENS = ["<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"]
WRITERS = 8


def config_of(args):
    config = {
        "architectures": ["GPTBigCodeForCausalLM"],
        "model_type": "gpt_bigcode",
        "activation_function": "gelu_pytorch_tanh",
        "multi_query": True,
        "n_embd": args.width,
        "n_head": args.heads,
        "n_inner": 4 * args.width,
        "n_layer": args.layers,
        "n_positions": args.positions,
        "vocab_size": args.vocab,
        "layer_norm_epsilon": 1e-5,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "float16",
    }
    return config | ({"quantization_config": {"quant_method": "hyades", "bits": 4}} if args.int4 else {})


def normal(std, mean=0):
    return lambda generator, shape: torch.randn(shape, generator=generator, device=generator.device) * std + mean


def integers(low, high):
    """From low to high."""
    return lambda generator, shape: torch.randint(low, high + 1, shape, generator=generator, device=generator.device)


def constant(value):
    return lambda generator, shape: torch.full(shape, value, device=generator.device)


def matrix(name, rows, columns, std, bits=None):
    if bits is None:
        return {name: ("F16", (rows, columns), normal(std))}
    if bits == 8:  # a deviation of 73
        stored = {name: ("I8", (rows, columns), integers(-127, 127))}
        return stored | {f"{name}_scale": ("F32", (rows,), constant(std / 73))}
    groups = -(-columns // GROUP)
    if columns % GROUP:
        raise SystemExit(f"int4: {columns} columns are no whole groups of {GROUP}")
    return {  # a deviation of 4.6 times 9.6
        name: ("U8", (rows, groups * GROUP // 2), integers(0, 255)),
        f"{name}_multiplier": ("I8", (rows, groups), integers(4, 15)),
        f"{name}_scale": ("F32", (rows,), constant(std / 44)),
    }


def tensors_of(config):
    """Type, shape and how it is drawn, by name."""
    width, inner, heads = config["n_embd"], config["n_inner"], config["n_head"]
    int4 = "quantization_config" in config

    def linear(name, rows, columns):
        weight = matrix(f"{name}.weight", rows, columns, 2 * columns**-0.5, 4 if int4 else None)
        return weight | {f"{name}.bias": ("F16", (rows,), normal(0.1))}

    def norm(name):
        return {f"{name}.weight": ("F16", (width,), normal(0.1, 1)), f"{name}.bias": ("F16", (width,), normal(0.1))}

    tensors = matrix("transformer.wte.weight", config["vocab_size"], width, 0.3, 8 if int4 else None)
    tensors |= matrix("transformer.wpe.weight", config["n_positions"], width, 0.3)
    for layer in range(config["n_layer"]):
        name = f"transformer.h.{layer}"
        tensors |= norm(f"{name}.ln_1") | linear(f"{name}.attn.c_attn", width + 2 * width // heads, width)
        tensors |= linear(f"{name}.attn.c_proj", width, width) | norm(f"{name}.ln_2")
        tensors |= linear(f"{name}.mlp.c_fc", inner, width) | linear(f"{name}.mlp.c_proj", width, inner)
    return tensors | norm("transformer.ln_f")


def num_elements(shape):
    return torch.Size(shape).numel()


def num_bytes(dtype, shape):
    return num_elements(shape) * DTYPES[dtype].itemsize


def shards_of(tensors, most_bytes):
    """Lists of names, in order, of at most that many bytes each (or of one tensor)."""
    shards, size = [[]], 0
    for name, (dtype, shape, _) in tensors.items():
        size += num_bytes(dtype, shape)
        if shards[-1] and size > most_bytes:
            shards.append([])
            size = num_bytes(dtype, shape)
        shards[-1].append(name)
    return shards


def start_file(path, tensors):
    """Writes the header of a safetensors file. Returns where each tensor begins; widest elements come first, aligned."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, _) in sorted(tensors.items(), key=lambda item: -DTYPES[item[1][0]].itemsize):
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + num_bytes(dtype, shape)]}
        at += num_bytes(dtype, shape)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return {name: 8 + len(text) + header[name]["data_offsets"][0] for name in tensors}


def write_tensor(path, start, name, tensor, seed, device):
    dtype, shape, draw = tensor
    generator = torch.Generator(device).manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    values = draw(generator, shape).to(DTYPES[dtype]).cpu()
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(memoryview(values.numpy()).cast("B"))


def write_tensors(out, tensors, shard_bytes, seed, device):
    shards = shards_of(tensors, shard_bytes)
    files = ["model.safetensors"]
    if len(shards) > 1:
        files = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
        weight_map = {name: file for file, names in zip(files, shards) for name in names}
        (out / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with ThreadPoolExecutor(WRITERS if device == "cuda" else 1) as pool:
        written = []
        for file, names in zip(files, shards):
            starts = start_file(out / file, {name: tensors[name] for name in names})
            written += [
                pool.submit(write_tensor, out / file, starts[name], name, tensors[name], seed, device) for name in names
            ]
        for one in written:
            one.result()


def byte_letters():
    """GPT-2's letter for each byte: printable ones stand for themselves, the others for letters from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def tokenizer_of(vocab):
    """Control tokens, a token for each byte, and words of two letters and more that merge letter by letter."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words, longest = [], letters
    while len(FIRST_TOKENS) + 256 + len(words) < vocab:
        longest = [word + letter for word in longest for letter in letters]
        words += longest
    tokens = (FIRST_TOKENS + byte_letters() + words)[:vocab]
    known = set(tokens)
    return {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": token, "special": True} for i, token in enumerate(FIRST_TOKENS)],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "decoder": {"type": "ByteLevel"},
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [f"{word[:-1]} {word[-1]}" for word in words if word in known],
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir")
    for name, default in {"layers": 24, "width": 2048, "heads": 16, "positions": 8192, "vocab": 49152}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard-gb", type=float, default=5, help="most gigabytes of a file")
    parser.add_argument("--int4", action="store_true", help="matrices in int4, the embedding in int8")
    args = parser.parse_args()
    started = time.perf_counter()
    out = Path(args.out_dir)
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("model*.safetensors*"):
        old.unlink()
    config = config_of(args)
    tensors = tensors_of(config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    write_tensors(out, tensors, args.shard_gb * 1e9, args.seed, device)
    (out / "config.json").write_text(json.dumps(config, indent=2))
    (out / "tokenizer.json").write_text(json.dumps(tokenizer_of(args.vocab), ensure_ascii=False))
    weights = {name: shape for name, (_, shape, _) in tensors.items() if not name.endswith(("_scale", "_multiplier"))}
    count = sum(num_elements(shape) * (2 if tensors[name][0] == "U8" else 1) for name, shape in weights.items())
    size = sum(num_bytes(dtype, shape) for dtype, shape, _ in tensors.values())
    print(
        f"{out}: {count / 1e6:.1f} M parameters, {'int4' if args.int4 else 'f16'}, seed {args.seed}, "
        f"{size / 1e9:.2f} GB written in {time.perf_counter() - started:.1f} s ({device})"
    )


if __name__ == "__main__":
    main()
