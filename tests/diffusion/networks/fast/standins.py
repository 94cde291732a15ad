"""Stand-ins for Triton's kernels and for CUDA graphs, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from latentloom.diffusion.networks.fast.calls import Tools
from latentloom.diffusion.networks.fast.capture import CapturedGraph, Captures


class Formulas:
    """The kernels' formulas, in torch."""

    @staticmethod
    def group_norm(
        x: Tensor, norm: nn.GroupNorm, *, silu: bool, added: Tensor | None = None
    ) -> Tensor:
        x = x if added is None else x + added[:, :, None, None]
        y = functional.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)
        y = functional.silu(y) if silu else y
        return y.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def add_with_bias(x: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
        y = x + bias[None, :, None, None] + skip
        return y.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)

    @staticmethod
    def add_layer_norm(x: Tensor, added: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
        return x + added, Formulas.layer_norm(x + added, norm)

    @staticmethod
    def gated_gelu(x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=-1)
        return a * functional.gelu(b)


class Recording:
    """A graph that computes again, from and into the memory of its first call."""

    def __init__(self, work: Callable[[], Sequence[Tensor]]) -> None:
        self._work, self.outputs = work, [output.clone() for output in work()]

    def replay(self) -> None:
        for output, again in zip(self.outputs, self._work(), strict=True):
            output.copy_(again)


def record(work: Callable[[], Sequence[Tensor]]) -> tuple[CapturedGraph, Sequence[Tensor]]:
    recording = Recording(work)
    return recording, recording.outputs


def stand_ins(limit: int = 16) -> Tools:
    """Return tools that compute the same without a GPU."""
    return Tools(Formulas(), record, Captures(limit))
