"""Decode and prefill speed of Hugging Face transformers on PyTorch's CPU backend, one JSON line a case.

The model's forward is called directly (no generate()): a prefill of all sequences, then greedy steps with the
library's own key/value cache. The median of the steps is reported, so that one page fault does not decide.

    python pytorch_decode.py MODEL_DIR [--threads 2] [--batch 1 8] [--context 64 512 1900]
                             [--dtype float32 bfloat16 int8_dynamic] [--steps 16]
    python pytorch_decode.py MODEL_DIR --check

--check prints how far each dtype's logits lie from float32's, as a share of the largest.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import AutoModelForCausalLM, DynamicCache


def load(model_dir, dtype):
    base = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=base, attn_implementation="sdpa").eval()
    if dtype == "int8_dynamic":
        model = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    return model


def timed(action):
    start = time.perf_counter()
    result = action()
    return (time.perf_counter() - start) * 1000, result


def forward(model, ids, cache):
    return model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)


def measure(model, batch, context, steps):
    """Milliseconds of one decode step (median) and of the prefill (best of two)."""
    prompt = torch.randint(32, 1000, (batch, context))
    prefills = []
    for _ in range(2):
        cache = DynamicCache()
        prefill_ms, out = timed(lambda: forward(model, prompt, cache))
        prefills.append(prefill_ms)
    durations = []
    for _ in range(steps):
        ids = out.logits[:, -1:].argmax(-1)
        step_ms, out = timed(lambda: forward(model, ids, cache))
        durations.append(step_ms)
    return statistics.median(durations), min(prefills)


def check(model_dir, dtypes):
    """Largest difference of any logit of 256 prompt positions from float32's, relative to the largest |logit|."""
    prompt = torch.randint(32, 1000, (1, 256))
    with torch.inference_mode():
        exact = load(model_dir, "float32")(input_ids=prompt).logits.float()
        for dtype in dtypes:
            difference = (load(model_dir, dtype)(input_ids=prompt).logits.float() - exact).abs().max()
            print(f"{dtype}: {(difference / exact.abs().max()).item():.1e} of max|logit|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--context", type=int, nargs="+", default=[64, 512, 1900])
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16", "int8_dynamic"])
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.check:
        return check(args.model_dir, args.dtype)
    for dtype in args.dtype:
        model = load(args.model_dir, dtype)
        for batch in args.batch:
            for context in args.context:
                with torch.inference_mode():
                    decode_ms, prefill_ms = measure(model, batch, context, args.steps)
                case = {"peer": "pytorch", "version": torch.__version__, "dtype": dtype, "threads": args.threads}
                case |= {"batch": batch, "context": context}
                case |= {"decode_ms": round(decode_ms, 3), "prefill_ms": round(prefill_ms, 1)}
                print(json.dumps(case), flush=True)


if __name__ == "__main__":
    main()
