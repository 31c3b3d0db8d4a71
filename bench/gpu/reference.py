"""Greedy continuation by transformers in f32 (stored weights widened, TF32 off), with the margin of every choice.

Tokens named in generation_config.json's suppress_tokens are never chosen, as in Hyades. Each step's gap is the distance
of the two largest logits as a share of max|logit|: below 1e-3 a different choice is a tie, not an error.

    python reference.py MODEL_DIR OUT.json [--prompt 96] [--tokens 64]
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from transformers import DynamicCache, GPTBigCodeConfig, GPTBigCodeForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))
from checkpoint import load_config, load_state  # noqa: E402


def load_model(model_dir, device):
    """In f32. Float weights are brought to the device as they are and widened there: large ones fit no other way."""
    state = load_state(model_dir, device=device)
    stored = state["transformer.wte.weight"].dtype
    torch.set_default_dtype(stored)
    with torch.device(device):  # where billions of random numbers, soon overwritten, are drawn at once
        model = GPTBigCodeForCausalLM(GPTBigCodeConfig(**load_config(model_dir))).eval()
    torch.set_default_dtype(torch.float32)
    missing, _ = model.load_state_dict(state, strict=False)
    if set(missing) - {"lm_head.weight"}:
        sys.exit(f"{model_dir} lacks {missing}")
    model.tie_weights()
    del state
    return model.float()


def suppressed_tokens(model_dir):
    path = Path(model_dir) / "generation_config.json"
    return json.loads(path.read_text()).get("suppress_tokens", []) if path.exists() else []


def greedy(model, prompt, num_tokens, suppressed):
    """Token ids and gaps; logits [vocab] of one step at a time."""
    ids, gaps, cache = [], [], DynamicCache()
    rows = torch.tensor([prompt], device=model.device)
    for _ in range(num_tokens):
        logits = model(input_ids=rows, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
        largest = logits.abs().max()
        logits[suppressed] = -torch.inf
        top = logits.topk(2)
        ids.append(top.indices[0].item())
        gaps.append(((top.values[0] - top.values[1]) / largest).item())
        rows = top.indices[:1][None]
    return ids, gaps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("out")
    parser.add_argument("--prompt", type=int, default=96, help="length of the prompt")
    parser.add_argument("--tokens", type=int, default=64)
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(args.model_dir, device)
    prompt = [32 + i * 7919 % 968 for i in range(args.prompt)]
    with torch.inference_mode():
        ids, gaps = greedy(model, prompt, args.tokens, suppressed_tokens(args.model_dir))
    Path(args.out).write_text(json.dumps({"prompt": prompt, "ids": ids, "gaps": gaps}))
    print(f"{args.model_dir}: {len(ids)} tokens, {len(set(ids))} distinct, smallest gap {min(gaps):.1e} ({device})")


if __name__ == "__main__":
    main()
