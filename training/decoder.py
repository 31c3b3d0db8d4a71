"""The decoder that all three architectures share: pre-norm blocks of a mixer and an MLP, final norm, tied head. Tokens are
rows of one matrix [batch * length, width], so that everything but the mixer is compiled once for all lengths."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from control_tokens import END

EPSILON = 1e-5
# Of the square of log Z in the loss: keeps logits from drifting (PaLM, section 5).
Z_WEIGHT = 1e-4


@dataclass(frozen=True)
class Size:
    architecture: str  # "starcoder", "h3" or "hyena"
    vocabulary: int = 16_384
    positions: int = 2048
    width: int = 512
    layers: int = 10
    inner: int = 1536
    heads: int = 8
    attention_layers: tuple[int, ...] = ()  # of an H3 hybrid


class Norm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))


class Linear(nn.Module):
    """Weight [outputs, inputs] and bias: what the functions below multiply by."""

    def __init__(self, inputs: int, outputs: int, scale: float = 0.02):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * scale)
        self.bias = nn.Parameter(torch.zeros(outputs))


class Mlp(nn.Module):
    def __init__(self, size: Size):
        super().__init__()
        self.fc1 = Linear(size.width, size.inner)
        self.fc2 = Linear(size.inner, size.width, residual_scale(size))


class Block(nn.Module):
    """r = r + mixer(norm1(r)); r = r + mlp(norm2(r)). The mixer has `inputs`, a Linear from width, `out`, a Linear back,
    and `mix` between them: [batch, length, ..] to [batch, length, width], or, where it says `by_channel`, [.., batch, length]
    to [width, batch, length], which products read and write as they do the other."""

    def __init__(self, size: Size, mixer: nn.Module):
        super().__init__()
        self.norm1, self.mixer, self.norm2, self.mlp = Norm(size.width), mixer, Norm(size.width), Mlp(size)

    def forward(self, x: Tensor, batch: int) -> Tensor:
        inputs, out = self.mixer.inputs, self.mixer.out
        if self.mixer.by_channel:
            p = normed_linear_by_channel(x, self.norm1.weight, self.norm1.bias, inputs.weight, inputs.bias)
            y = self.mixer.mix(p.view(p.shape[0], batch, -1)).reshape(x.shape[1], -1)
            x = linear_residual_by_channel(x, y, out.weight, out.bias)
        else:
            p = normed_linear(x, self.norm1.weight, self.norm1.bias, inputs.weight, inputs.bias)
            y = self.mixer.mix(p.view(batch, -1, p.shape[-1])).reshape(x.shape)
            x = linear_residual(x, y, out.weight, out.bias)
        fc1, fc2 = self.mlp.fc1, self.mlp.fc2
        return mlp_residual(x, self.norm2.weight, self.norm2.bias, fc1.weight, fc1.bias, fc2.weight, fc2.bias)


class Decoder(nn.Module):
    def __init__(self, size: Size, mixers: list[nn.Module], has_positions: bool):
        super().__init__()
        self.size = size
        self.embedding = nn.Parameter(torch.randn(size.vocabulary, size.width) * 0.02)
        self.position = nn.Parameter(torch.randn(size.positions, size.width) * 0.02) if has_positions else None
        self.layers = nn.ModuleList(Block(size, mixer) for mixer in mixers)
        self.final_norm = Norm(size.width)
        self.compute_type = torch.float32

    def forward(self, ids: Tensor) -> Tensor:
        """ids [batch, length] to rows [batch * length, width] before the final norm."""
        batch, length = ids.shape
        x = F.embedding(ids, self.embedding)
        if self.position is not None:
            x = x + self.position[:length]
        x = x.to(self.compute_type).view(batch * length, -1)
        for layer in self.layers:
            x = layer(x, batch)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Of rows that forward gave: [.., vocabulary]."""
        return head(x, self.final_norm.weight, self.final_norm.bias, self.embedding)

    def loss(self, x: Tensor, targets: Tensor, weights: Tensor, endless: Tensor) -> tuple[Tensor, Tensor]:
        """endless: bool [tokens], where END is none of what may come."""
        return weighted_loss(x, self.final_norm.weight, self.final_norm.bias, self.embedding, targets, weights, endless)

    def filters(self) -> list[Tensor]:
        """Long filters [channels, positions] that penalties may act on."""
        return [layer.mixer.filter() for layer in self.layers if hasattr(layer.mixer, "filter")]


def residual_scale(size: Size) -> float:
    """So that the stream's variance does not grow with depth (GPT-2)."""
    return 0.02 / (2 * size.layers) ** 0.5


# Functions of tensors alone, so that one compiled form serves all layers. Norms are computed in the weights' type, f32 (or
# f64, for references), products in x's.


def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(x.to(weight.dtype), x.shape[-1:], weight, bias, EPSILON).to(x.dtype)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def normed_linear(x, norm_weight, norm_bias, weight, bias):
    return linear(norm(x, norm_weight, norm_bias), weight, bias)


def linear_residual(x, y, weight, bias):
    return x + linear(y, weight, bias)


def normed_linear_by_channel(x, norm_weight, norm_bias, weight, bias):
    """[outputs, tokens]"""
    return weight.to(x.dtype) @ norm(x, norm_weight, norm_bias).mT + bias.to(x.dtype)[:, None]


def linear_residual_by_channel(x, y, weight, bias):
    """y: [inputs, tokens]"""
    return x + linear(y.mT, weight, bias)


def mlp_residual(x, norm_weight, norm_bias, weight1, bias1, weight2, bias2):
    inner = F.gelu(normed_linear(x, norm_weight, norm_bias, weight1, bias1), approximate="tanh")
    return x + linear(inner, weight2, bias2)


def head(x, norm_weight, norm_bias, embedding):
    return linear(norm(x, norm_weight, norm_bias), embedding)


def weighted_loss(x, norm_weight, norm_bias, embedding, targets, weights, endless):
    """The weighted mean of every row's cross entropy, with what log Z costs; and each row's own without."""
    logits = head(x, norm_weight, norm_bias, embedding).to(norm_weight.dtype)
    is_end = torch.arange(logits.shape[-1], device=logits.device) == END
    logits = logits.masked_fill(endless[:, None] & is_end, -torch.inf)
    log_z = logits.logsumexp(-1)
    rows = log_z - logits.gather(-1, targets[:, None]).squeeze(-1)
    scored = rows + Z_WEIGHT * log_z.square()
    return (scored * weights).sum() / weights.sum().clamp_min(1), rows.detach()


def compile_functions(**options) -> None:
    """Replaces the functions above by compiled ones, for every model of the process."""
    for name in ("normed_linear", "linear_residual", "normed_linear_by_channel", "linear_residual_by_channel", "mlp_residual",
                 "weighted_loss"):
        globals()[name] = torch.compile(globals()[name], **options)
