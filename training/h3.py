"""H3 hybrids: layers that mix by two state-space models and two products, a few that attend. Fu, Dao et al., "Hungry Hungry
Hippos: Towards Language Modeling with State Space Models" (2022)."""
import math

import torch
from torch import Tensor, nn

from attention import Attention
from decoder import Decoder, Linear, Size, residual_scale
from long_convolution import causal_convolution

TAPS, MODES = 64, 32


def h3(size: Size) -> Decoder:
    mixers = [Attention(size, size.heads) if i in size.attention_layers else H3(size) for i in range(size.layers)]
    return Decoder(size, mixers, has_positions=False)


class H3(nn.Module):
    """q * diagonal(shift(k) * v): the shift SSM remembers the last tokens, the diagonal one what was written since."""

    by_channel = True

    def __init__(self, size: Size):
        super().__init__()
        width = size.width
        self.inputs = Linear(width, 3 * width)
        self.inputs.weight.parts = [width] * 3
        self.out = Linear(width, width, residual_scale(size))
        self.shift_b = nn.Parameter(torch.zeros(width, TAPS))
        self.shift_b.data[:, 0] = 1
        self.shift_c = nn.Parameter(torch.empty(width, TAPS).uniform_(-1 / 8, 1 / 8))
        self.shift_skip = nn.Parameter(torch.randn(width))
        self.log_dt = nn.Parameter(torch.empty(width).uniform_(math.log(1e-3), math.log(1e-1)))
        self.inv_a_real = nn.Parameter(torch.full((width, MODES), math.log(0.5)))
        self.a_imag = nn.Parameter((math.pi * torch.arange(MODES)).repeat(width, 1))
        self.b = nn.Parameter(torch.stack([torch.ones(width, MODES), torch.zeros(width, MODES)], -1))
        self.c = nn.Parameter(torch.randn(width, MODES, 2) / 2**0.5)
        self.skip = nn.Parameter(torch.randn(width))
        for name, parameter in self.named_parameters(recurse=False):
            parameter.state_space = True

    def mix(self, p: Tensor) -> Tensor:
        q, k, v = p.chunk(3)
        written = causal_convolution(k, self.shift_filter()) * v
        return q * causal_convolution(written, self.diagonal_filter(p.shape[-1]))

    def shift_filter(self) -> Tensor:
        """[width, TAPS]: f[i] = sum over n of C[n] B[n - i], and the skip in lag 0."""
        size = 2 * TAPS
        spectrum = torch.fft.rfft(self.shift_c, n=size) * torch.fft.rfft(self.shift_b, n=size).conj()
        return torch.fft.irfft(spectrum, n=size)[:, :TAPS] + in_lag_0(self.shift_skip, TAPS)

    def diagonal_filter(self, length: int) -> Tensor:
        """[width, length]: K[l] = 2 Re sum over n of C B̄ Ā^l, discretised bilinearly, and the skip in lag 0."""
        dt = self.log_dt.exp()[:, None]
        re, im = -self.inv_a_real.exp() * dt / 2, self.a_imag * dt / 2
        denominator = (1 - re).square() + im.square()
        size = 0.5 * (((1 + re).square() + im.square()) / denominator).log()
        angle = torch.atan2(im, 1 + re) + torch.atan2(im, 1 - re)
        g_re, g_im = (1 - re) / denominator * dt, im / denominator * dt
        cb_re = self.c[..., 0] * self.b[..., 0] - self.c[..., 1] * self.b[..., 1]
        cb_im = self.c[..., 0] * self.b[..., 1] + self.c[..., 1] * self.b[..., 0]
        residue_re, residue_im = 2 * (cb_re * g_re - cb_im * g_im), 2 * (cb_re * g_im + cb_im * g_re)
        return modal_filter(size, angle, residue_re, residue_im, length) + in_lag_0(self.skip, length)


# Powers of poles are products of two, of a multiple of so many steps and of the rest: sums over modes are products of matrices.
STEPS = 64


def modal_filter(log_size: Tensor, angle: Tensor, re: Tensor, im: Tensor, length: int) -> Tensor:
    """[channels, length]: the real part of the sum over modes of residues times pole^l, poles by logarithm and angle."""
    def powers(l: Tensor) -> tuple[Tensor, Tensor]:
        size, turn = (l * log_size[..., None]).exp(), l * angle[..., None]
        return size * turn.cos(), size * turn.sin()

    far_re, far_im = powers(STEPS * torch.arange(-(-length // STEPS), device=angle.device))
    near_re, near_im = powers(torch.arange(STEPS, device=angle.device))
    far_re, far_im = re[..., None] * far_re - im[..., None] * far_im, re[..., None] * far_im + im[..., None] * far_re
    return (far_re.mT @ near_re - far_im.mT @ near_im).flatten(1)[:, :length]


def in_lag_0(skip: Tensor, lags: int) -> Tensor:
    return torch.nn.functional.pad(skip[:, None], (0, lags - 1))
