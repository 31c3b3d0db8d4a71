"""Writes a random GPTBigCode checkpoint in f16 with a fixed seed; StarCoderBase-1B's shape by default.

Linear weights are drawn wide (2 / sqrt(fan in)) so that the blocks outweigh the embedding in the residual stream:
with a tied head a small initialisation would repeat its last token for ever, and equal continuations would prove little.

    python make_checkpoint.py OUT_DIR [--layers 24 --width 2048 --heads 16 --positions 8192 --vocab 49152 --seed 0]
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file


def config_of(args):
    return {
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


def random_state(config, generator):
    width, inner, heads = config["n_embd"], config["n_inner"], config["n_head"]

    def draw(std, *shape):
        return (torch.randn(*shape, generator=generator, device=generator.device) * std).half()

    def linear(name, rows, columns):
        return {f"{name}.weight": draw(2 * columns**-0.5, rows, columns), f"{name}.bias": draw(0.1, rows)}

    def norm(name):
        return {f"{name}.weight": 1 + draw(0.1, width), f"{name}.bias": draw(0.1, width)}

    state = {"transformer.wte.weight": draw(0.3, config["vocab_size"], width)}
    state["transformer.wpe.weight"] = draw(0.3, config["n_positions"], width)
    for layer in range(config["n_layer"]):
        name = f"transformer.h.{layer}"
        state |= norm(f"{name}.ln_1") | linear(f"{name}.attn.c_attn", width + 2 * width // heads, width)
        state |= linear(f"{name}.attn.c_proj", width, width) | norm(f"{name}.ln_2")
        state |= linear(f"{name}.mlp.c_fc", inner, width) | linear(f"{name}.mlp.c_proj", width, inner)
    return state | norm("transformer.ln_f")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir")
    for name, default in {"layers": 24, "width": 2048, "heads": 16, "positions": 8192, "vocab": 49152}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    out = Path(args.out_dir)
    out.mkdir(parents=True, exist_ok=True)
    config = config_of(args)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    state = random_state(config, torch.Generator(device).manual_seed(args.seed))
    save_file({name: tensor.cpu() for name, tensor in state.items()}, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=2))
    # A model folder has a tokenizer; this one is driven by token ids and needs no words.
    tokenizer = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
    (out / "tokenizer.json").write_text(json.dumps(tokenizer))
    count = sum(tensor.numel() for tensor in state.values())
    print(f"{out}: {count / 1e6:.1f} M parameters, f16, seed {args.seed}")


if __name__ == "__main__":
    main()
