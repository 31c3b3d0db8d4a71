"""PyTorch's operators by the length of one sequence, one JSON line each: fused causal attention in f16, and convolutions by
torch.fft in f32 with the filter's spectrum kept, alone, between Hyena's two gates, and H3's two with its gates.

Channels lie as each operator likes them best: attention [1, heads, tokens, 128], convolutions [channels, tokens]. A time is
the median of rounds between two CUDA events, each of as many runs as take some 20 ms.

    python pytorch_operators.py [--width 2048] [--lengths 2048 8192 32768 65536] [--device cuda]
"""

import argparse
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

HEAD_SIZE = 128
ROUNDS = 7
ROUND_MS = 20
FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]


class CudaClock:
    def __call__(self, action, runs):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(runs):
            action()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / runs


class HostClock:
    """For tests on a machine without a GPU."""

    def __call__(self, action, runs):
        begin = time.perf_counter()
        for _ in range(runs):
            action()
        return (time.perf_counter() - begin) * 1000 / runs


def measure_ms(clock, action):
    action()
    clock(action, 3)
    runs = max(1, round(ROUND_MS / max(clock(action, 3), 1e-3)))
    return statistics.median(clock(action, runs) for _ in range(ROUNDS))


def random(*shape, device, dtype=torch.float32):
    return torch.rand(shape, device=device).mul_(2).sub_(1).to(dtype)


def attention(width, length, device, kv_heads=None):
    size = min(HEAD_SIZE, width)
    heads = width // size
    kv_heads = kv_heads or heads
    q, k, v = (random(1, n, length, size, device=device, dtype=torch.float16) for n in (heads, kv_heads, kv_heads))
    gqa = {"enable_gqa": True} if kv_heads < heads else {}

    def run():
        with sdpa_kernel(FUSED if device == "cuda" else [SDPBackend.MATH]):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, **gqa)

    return run


def spectrum_of(width, length, device):
    decay = torch.exp(-5 * torch.arange(length, device=device) / length)
    return torch.fft.rfft(random(width, length, device=device) * decay, n=2 * length)


def convolve(x, spectrum):
    length = x.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(x, n=2 * length) * spectrum, n=2 * length)[..., :length]


def convolution(width, length, device):
    x, spectrum = random(width, length, device=device), spectrum_of(width, length, device)
    return lambda: convolve(x, spectrum)


def hyena(width, length, device):
    x, before, after = (random(width, length, device=device) for _ in range(3))
    spectrum = spectrum_of(width, length, device)
    return lambda: convolve(x * before, spectrum) * after


def h3(width, length, device):
    q, k, v = (random(width, length, device=device) for _ in range(3))
    shift, diagonal = (spectrum_of(width, length, device) for _ in range(2))
    return lambda: convolve(convolve(k, shift) * v, diagonal) * q


OPERATORS = {
    "attention": attention,
    "multi-query": lambda width, length, device: attention(width, length, device, 1),
    "convolution": convolution,
    "hyena": hyena,
    "h3": h3,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 8192, 32768, 65536])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    args = parser.parse_args()
    clock = CudaClock() if args.device == "cuda" else HostClock()
    for length in args.lengths:
        for name, operator in OPERATORS.items():
            line = {"kind": "operator", "by": "pytorch", "version": torch.__version__}
            line |= {"operator": name, "width": args.width, "length": length}
            try:
                with torch.inference_mode():
                    line["ms"] = round(measure_ms(clock, operator(args.width, length, args.device)), 5)
            except RuntimeError as error:
                # One that does not fit, or that this version has no fused form for, must not take the others with it.
                print(f"{name}, {length}: {error}", file=sys.stderr, flush=True)
                continue
            print(json.dumps(line), flush=True)
            if args.device == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
