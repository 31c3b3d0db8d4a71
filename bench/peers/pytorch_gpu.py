"""Decode and prefill speed of Hugging Face transformers on PyTorch's CUDA backend in f16, one JSON line a case.

Decoding runs twice: eagerly over a growing cache, and as a CUDA graph that holds one whole step (static cache, mask,
argmax) and is replayed. An eager step ends when the GPU has finished it; replays queue up behind each other, sixteen at
a time, so that the host costs them nothing. --prefill times prompts alone, eagerly and as a CUDA graph of their length.

    python pytorch_gpu.py MODEL_DIR [--batch 1 8] [--context 64 512 1900] [--steps 64] [--modes eager graph]
                          [--prefill 512 2048]
"""

import argparse
import json
import statistics
import sys
import time
from functools import partial

import torch
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache

WARM_UP_STEPS = 3
REPLAYS_IN_FLIGHT = 16


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

    graph = captured(step)
    rounds = max(1, steps // REPLAYS_IN_FLIGHT)
    replay = lambda: [graph.replay() for _ in range(steps // rounds)]
    return [timed(replay)[0] / (steps // rounds) for _ in range(rounds)]


def captured(action):
    """A CUDA graph of `action`, which has run WARM_UP_STEPS times before it is recorded."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_STEPS):
            action()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        action()
    return graph


def graph_prefill_ms(model, prompt):
    """The cache that a replay fills is the graph's own memory, the same each time."""
    graph = captured(lambda: forward(model, prompt, DynamicCache()))
    return min(timed(graph.replay)[0] for _ in range(2))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--context", type=int, nargs="+", default=[64, 512, 1900])
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--prefill", type=int, nargs="*", default=[], help="lengths of prompts that are timed alone")
    parser.add_argument("--modes", nargs="+", choices=["eager", "graph"], default=["eager", "graph"])
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("PyTorch finds no CUDA device (its CPU backend is measured with --device cpu)")
    model = AutoModelForCausalLM.from_pretrained(args.model_dir, dtype=torch.float16, attn_implementation="sdpa")
    model = model.cuda().eval()
    measures = {mode: partial(measure_mode, model, mode, args) for mode in args.modes}
    for name, measure in (measures | {"prefill": partial(measure_prefill, model, args)}).items():
        try:
            measure()
        except RuntimeError as error:
            # What this version of transformers cannot capture must not take the eager figures with it.
            print(f"{name}: {error}", file=sys.stderr)


def prompt_of(batch, context):
    return torch.randint(32, 1000, (batch, context), device="cuda")


def report(mode, batch, context, **milliseconds):
    case = {"peer": "pytorch", "version": torch.__version__, "dtype": f"float16, {mode}"}
    case |= {"batch": batch, "context": context}
    print(json.dumps(case | {name: round(value, 4) for name, value in milliseconds.items()}), flush=True)


def measure_mode(model, mode, args):
    decode_steps = {"eager": eager_steps, "graph": graph_steps}[mode]
    for batch in args.batch:
        for context in args.context:
            prompt = prompt_of(batch, context)
            with torch.inference_mode():
                prefill = prefill_ms(model, prompt)
                decode = statistics.median(decode_steps(model, prompt, args.steps))
            report(mode, batch, context, decode_ms=decode, prefill_ms=prefill)


def measure_prefill(model, args):
    for context in args.prefill:
        prompt = prompt_of(1, context)
        with torch.inference_mode():
            report("eager", 1, context, prefill_ms=prefill_ms(model, prompt))
            report("graph", 1, context, prefill_ms=graph_prefill_ms(model, prompt))


if __name__ == "__main__":
    main()
