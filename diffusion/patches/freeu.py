"""FreeU: stronger features from below, weaker low frequencies from the skips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.patch import StepState


@dataclass(frozen=True)
class FreeU:
    """Changes what meets in the second half of the network, without training.

    Args:
        b1, b2: gain of half of the features where they have four and two times as many
            channels as the first layer.
        s1, s2: gain of the lowest frequencies of the skip that joins them.
        version: 2 lets the gain follow the mean of the features over the channels.

    Source: Si et al., "FreeU: Free Lunch in Diffusion U-Net" (arXiv 2309.11497), equations 3
    to 5; version 2 of its repository.
    """

    b1: float
    b2: float
    s1: float
    s2: float
    version: int = 2

    @property
    def fingerprint(self) -> str:
        """Tells two patches apart."""
        return repr(self)

    def attach(self, network: nn.Module, _moment: StepState) -> Iterator[None]:
        """Change what each residual block of the second half is given."""
        config: Any = network.config
        first = config["block_out_channels"][0]
        gains = {4 * first: (self.b1, self.s1), 2 * first: (self.b2, self.s2)}
        with ExitStack() as hooks:
            for block, below in _joints(network):
                if below in gains:
                    hook = self._hook(below, *gains[below])
                    hooks.callback(block.register_forward_pre_hook(hook).remove)
            yield

    def _hook(self, below: int, gain: float, skip_gain: float) -> Any:
        def change(_block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            joined, *rest = inputs
            features, skip = joined[:, :below].clone(), joined[:, below:]
            half = below // 2
            features[:, :half] = features[:, :half] * self._gain(features, gain)
            return (torch.cat([features, _weaker_lows(skip, skip_gain)], dim=1), *rest)

        return change

    def _gain(self, features: Tensor, gain: float) -> Tensor | float:
        if self.version == 1:
            return gain
        mean = features.mean(1, keepdim=True)
        low, high = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
        return 1 + (gain - 1) * (mean - low) / (high - low)


def _joints(network: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    """Each residual block that a skip joins, and how many channels come from below."""
    config: Any = network.config
    below = config["block_out_channels"][-1]
    ups: Any = network.get_submodule("up_blocks")
    for up in ups:
        for block in up.resnets:
            yield block, below
            below = block.out_channels


def _weaker_lows(skip: Tensor, gain: float) -> Tensor:
    from diffusers.utils.torch_utils import fourier_filter

    filtered: Tensor = fourier_filter(skip, threshold=1, scale=gain)
    return filtered
