"""Causal convolution of a whole sequence with a filter as long, and penalties on filters: Fu et al., "Simple
Hardware-Efficient Long Convolutions for Sequence Modeling" (2023). Through Fourier transforms in f32, or as products of matrices
in whatever type the sequence has (toeplitz_convolution.py)."""
import torch
from torch import Tensor

from toeplitz_convolution import ToeplitzConvolution

# Whether convolutions go through Fourier transforms: for rows of 2048 tokens these do a tenth of the arithmetic, none of it
# on matrix units, and move several times as many bytes.
FOURIER = False


def causal_convolution(u: Tensor, taps: Tensor) -> Tensor:
    """y[t] = sum over j of taps[j] u[t - j], channel by channel, in u's type.

    u: [channels, batch, length], taps: [channels, lags], f32 or f64, any number of lags.
    """
    convolution = FourierConvolution if FOURIER else ToeplitzConvolution
    return convolution.apply(u, taps[:, :u.shape[-1]])


class FourierConvolution(torch.autograd.Function):
    """Keeps its inputs alone: spectra are cheaper to compute again than to keep."""

    @staticmethod
    def forward(ctx, u: Tensor, taps: Tensor) -> Tensor:
        ctx.save_for_backward(u, taps)
        size = transform_size(u.shape[-1] + taps.shape[-1] - 1)
        product = torch.fft.rfft(u.to(taps.dtype), n=size) * torch.fft.rfft(taps, n=size)[:, None]
        return torch.fft.irfft(product, n=size)[..., :u.shape[-1]].to(u.dtype)

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor, Tensor]:
        u, taps = ctx.saved_tensors
        length, lags = u.shape[-1], taps.shape[-1]
        size = transform_size(length + lags - 1)
        output = torch.fft.rfft(dy.to(taps.dtype), n=size)
        du = torch.fft.irfft(output * torch.fft.rfft(taps, n=size).conj()[:, None], n=size)[..., :length]
        correlation = (output * torch.fft.rfft(u.to(taps.dtype), n=size).conj()).sum(1)
        dtaps = torch.fft.irfft(correlation, n=size)[..., :lags]
        return du.to(u.dtype), dtaps


def transform_size(points: int) -> int:
    """The smallest 2^a, 3 * 2^a or 9 * 2^a that holds so many points: what transforms are fast for."""
    sizes = [factor * 2 ** max(1, ((points + factor - 1) // factor - 1).bit_length()) for factor in (1, 3, 9)]
    return min(sizes)


def roughness(taps: Tensor) -> Tensor:
    """How far filters are from smooth ones: the mean square of what a moving average of three taps takes away.

    The paper smooths filters themselves, in training and in use; as a penalty it leaves alone how models are served.
    """
    return (taps[..., 1:-1] - (taps[..., :-2] + taps[..., 1:-1] + taps[..., 2:]) / 3).square().mean()


def magnitude(taps: Tensor) -> Tensor:
    """The mean size of taps: where the paper's squash takes a constant from each, its penalty pulls small ones to 0."""
    return taps.abs().mean()
