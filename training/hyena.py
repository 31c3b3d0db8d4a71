"""Hyena: a long convolution between two gates, its filters computed from the position by a small network of sines. Poli et
al., "Hyena Hierarchy: Towards Larger Convolutional Language Models" (2023), section 3."""
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decoder import Decoder, Linear, Size, residual_scale
from long_convolution import causal_convolution

FEATURES, FILTER_WIDTH, INNER_LAYERS, SHORT_TAPS = 33, 64, 2, 3
FREQUENCY = 14.0
# How fast filters decay: the slowest and the fastest channel fall to TARGET after so many lengths of the context.
SLOWEST, FASTEST, TARGET = 1.5, 0.3, 0.01


def hyena(size: Size) -> Decoder:
    return Decoder(size, [Hyena(size) for _ in range(size.layers)], has_positions=False)


class Hyena(nn.Module):
    """Of order 2: x0 * (h * (x1 v)), all three after a convolution of three taps."""

    by_channel = True

    def __init__(self, size: Size):
        super().__init__()
        width = size.width
        self.inputs = Linear(width, 3 * width)
        self.inputs.weight.parts = [width] * 3
        self.out = Linear(width, width, residual_scale(size))
        self.short_weight = nn.Parameter(torch.empty(3 * width, 1, SHORT_TAPS).uniform_(-(3**-0.5), 3**-0.5))
        self.short_bias = nn.Parameter(torch.empty(3 * width).uniform_(-(3**-0.5), 3**-0.5))
        self.long = ImplicitFilter(size)

    def mix(self, p: Tensor) -> Tensor:
        after, u = short_gate(p, self.short_weight, self.short_bias)
        return after * causal_convolution(u, self.filter(p.shape[-1]))

    def filter(self, length: int | None = None) -> Tensor:
        """[width, length], or as many taps as there are."""
        return self.long(length)


def short_gate(p: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """x0, and x1 v. The last tap is the current token's."""
    weight, bias = weight.to(p.dtype), bias.to(p.dtype)
    length, padded = p.shape[-1], F.pad(p, (SHORT_TAPS - 1, 0))
    s = bias[:, None, None] + sum(weight[:, :, tap, None] * padded[..., tap:tap + length] for tap in range(SHORT_TAPS))
    x0, x1, v = s.chunk(3)
    return x0, x1 * v


class ImplicitFilter(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.skip = nn.Parameter(torch.randn(size.width))
        self.frequency = nn.Parameter(torch.full((1, FILTER_WIDTH), FREQUENCY))
        inputs = [FEATURES] + [FILTER_WIDTH] * INNER_LAYERS
        self.sines = nn.ModuleList(nn.Linear(width, FILTER_WIDTH) for width in inputs)
        self.output = nn.Parameter(torch.randn(size.width, FILTER_WIDTH) * 0.02)
        self.register_buffer("features", position_features(size.positions), persistent=False)
        self.register_buffer("window", decay_window(size.positions, size.width), persistent=False)
        for parameter in self.parameters():
            parameter.state_space = True

    def forward(self, length: int | None = None) -> Tensor:
        """[width, length], with what is added of the input itself in lag 0."""
        a = self.features[:length]
        for layer in self.sines:
            a = (self.frequency * layer(a)).sin()
        return (self.output @ a.T) * self.window[:, :length] + F.pad(self.skip[:, None], (0, a.shape[0] - 1))


def position_features(length: int) -> Tensor:
    """[length, FEATURES]: the position from 0 to 1, then cosines and negative sines of the first frequencies."""
    bands = (FEATURES - 1) // 2
    time = torch.linspace(0, 1, length, dtype=torch.float64)[:, None]
    angle = torch.linspace(1e-4, bands - 1, bands, dtype=torch.float64) * (2 * math.pi * torch.arange(length)[:, None] / length)
    return torch.cat([time, angle.cos(), -angle.sin()], -1).float()


def decay_window(length: int, width: int) -> Tensor:
    """[width, length]"""
    rates = torch.linspace(math.log(TARGET) / SLOWEST, math.log(TARGET) / FASTEST, width, dtype=torch.float64)
    return (rates[:, None] * torch.linspace(0, 1, length, dtype=torch.float64)).exp().float()


def compile_functions(**options) -> None:
    global short_gate
    short_gate = torch.compile(short_gate, **options)
