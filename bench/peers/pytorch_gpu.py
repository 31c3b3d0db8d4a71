"""Decode and prefill speed of Hugging Face transformers on PyTorch's CUDA backend in f16, one JSON line a case.

Decoding runs twice: eagerly over a growing cache, and as a CUDA graph that holds one whole step (static cache, mask,
argmax) and is replayed. A step ends when the GPU has finished it.

    python pytorch_gpu.py MODEL_DIR [--batch 1 8] [--context 64 512 1900] [--steps 64] [--modes eager graph]
"""

import argparse
import json
import statistics
import sys
import time

import torch
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache

WARM_UP_STEPS = 3


def timed(action):
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = action()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) * 1000, result


def forward(model, ids, cache, **inputs):
    return model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **inputs).logits[:, -1:]


def prefill_ms(model, prompt):
    forward(model, prompt, DynamicCache())
    return min(timed(lambda: forward(model, prompt, DynamicCache()))[0] for _ in range(2))


def eager_steps(model, prompt, steps):
    cache = DynamicCache()
    token = forward(model, prompt, cache).argmax(-1)
    durations = []
    for _ in range(steps + WARM_UP_STEPS):
        duration, logits = timed(lambda: forward(model, token, cache))
        token = logits.argmax(-1)
        durations.append(duration)
    return durations[WARM_UP_STEPS:]


def graph_steps(model, prompt, steps):
    """The static cache counts its own length on the device, so a replay moves on by itself."""
    context = prompt.shape[1]
    length = context + steps + WARM_UP_STEPS
    cache = StaticCache(config=model.config, max_cache_len=length)
    slots = torch.arange(length, device=prompt.device)
    position = torch.tensor([[context]], device=prompt.device)
    mask = lambda rows: (slots[None, :] <= rows[:, None])[None, None].expand(len(prompt), 1, -1, -1)
    token = forward(model, prompt, cache, attention_mask=mask(slots[:context])).argmax(-1)

    def step():
        logits = forward(model, token, cache, attention_mask=mask(position[0]), position_ids=position)
        token.copy_(logits.argmax(-1))
        position.add_(1)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_STEPS):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return [timed(graph.replay)[0] for _ in range(steps)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--context", type=int, nargs="+", default=[64, 512, 1900])
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--modes", nargs="+", choices=["eager", "graph"], default=["eager", "graph"])
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("PyTorch finds no CUDA device (its CPU backend is measured with --device cpu)")
    model = AutoModelForCausalLM.from_pretrained(args.model_dir, dtype=torch.float16, attn_implementation="sdpa")
    model = model.cuda().eval()
    for mode in args.modes:
        try:
            measure_mode(model, mode, args)
        except RuntimeError as error:
            # A step that this version of transformers cannot capture must not take the eager figures with it.
            print(f"{mode}: {error}", file=sys.stderr)


def measure_mode(model, mode, args):
    decode_steps = {"eager": eager_steps, "graph": graph_steps}[mode]
    for batch in args.batch:
        for context in args.context:
            prompt = torch.randint(32, 1000, (batch, context), device="cuda")
            with torch.inference_mode():
                prefill = prefill_ms(model, prompt)
                decode = statistics.median(decode_steps(model, prompt, args.steps))
            case = {"peer": "pytorch", "version": torch.__version__, "dtype": f"float16, {mode}"}
            case |= {"batch": batch, "context": context}
            case |= {"decode_ms": round(decode, 4), "prefill_ms": round(prefill, 3)}
            print(json.dumps(case), flush=True)


if __name__ == "__main__":
    main()
