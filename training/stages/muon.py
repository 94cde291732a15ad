"""Muon: steps of a momentum that is made orthogonal, for the matrices inside a network.

Source: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the
scale of the steps, which lets Muon share AdamW's rate, from arXiv 2502.16982. torch.optim.Muon
takes matrices only; here a convolution counts as the matrix of its output channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
# The quintic iteration that brings all singular values near 1 in five rounds.
ROUNDS, QUINTIC = 5, (3.4445, -4.7750, 2.0315)
SCALE = 0.2


def is_hidden(name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a matrix or convolution between hidden layers."""
    outer = ("conv_in.", "conv_out.", "quant_conv.", "embedding.weight", "controlnet_")
    return parameter.ndim >= 2 and not any(part in name for part in outer)


class Muon(torch.optim.Optimizer):
    """The optimizer; every group has `lr` and `weight_decay`."""

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, _closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state, rate, decay = self.state[parameter], group["lr"], group["weight_decay"]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        ahead = torch.lerp(gradient, momentum, MOMENTUM).flatten(1)
        step = orthogonal(ahead) * SCALE * max(ahead.shape) ** 0.5
        parameter.mul_(1 - rate * decay).sub_(step.view(parameter.shape), alpha=rate)


def orthogonal_all(matrices: Tensor) -> Tensor:
    """`orthogonal` of each of N×rows×columns."""
    turns = matrices.shape[1] > matrices.shape[2]
    width = matrices.mT if turns else matrices
    x = (width / (width.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    turned: Tensor = (x.mT if turns else x).to(matrices.dtype)
    return turned


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are about 1 (between 0.7 and 1.2)."""
    width = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = (width / (width.norm() + 1e-7)).bfloat16()
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    turned: Tensor = (x if width is matrix else x.T).to(matrix.dtype)
    return turned
