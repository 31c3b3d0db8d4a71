"""Muon: momentum made orthogonal, matrix by matrix, with Newton and Schulz's iteration. Jordan et al., "Muon: An optimizer for
hidden layers in neural networks" (2024). For the blocks' matrices; everything else is AdamW's."""
import torch
from torch import Tensor

# The quintic iteration's coefficients: singular values end up between about 0.7 and 1.2.
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Steps of spectral size `lr` times sqrt(rows / columns) where there are more rows. A parameter with `parts`, rows of
    several products stored as one, has each part made orthogonal alone."""

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                for target, direction in self.directions(parameter, group["momentum"]):
                    by_shape.setdefault(direction.shape, []).append((target, direction))
            for (rows, columns), pairs in by_shape.items():
                steps = orthogonalise(torch.stack([direction for _, direction in pairs]))
                size = group["lr"] * max(1, rows / columns) ** 0.5
                for (target, _), step in zip(pairs, steps):
                    target.mul_(1 - group["lr"] * group["weight_decay"]).add_(step.to(target.dtype), alpha=-size)

    def directions(self, parameter: Tensor, momentum: float) -> list[tuple[Tensor, Tensor]]:
        """Each part of a parameter with its gradient after momentum (Nesterov's)."""
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        direction = parameter.grad.lerp(state["momentum"], momentum)
        parts = getattr(parameter, "parts", [parameter.shape[0]])
        return list(zip(parameter.split(parts), direction.split(parts)))


def orthogonalise(matrices: Tensor) -> Tensor:
    """U Vᵀ of the singular value decomposition of each of [number, rows, columns], roughly, in bf16."""
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    wide = x.shape[-2] <= x.shape[-1]
    x = x if wide else x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = A * x + (B * gram + C * gram @ gram) @ x
    return x if wide else x.mT
