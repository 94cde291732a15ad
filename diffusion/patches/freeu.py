"""FreeU: stronger backbone features, weaker low frequencies of the skips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.patch import StepState, ValuePatch


@dataclass(frozen=True)
class FreeU(ValuePatch):
    """Changes the inputs of the residual blocks of the second half; needs no training.

    Args:
        b1, b2: gain of half of the backbone's channels, where they are four and two times as
            many as the first layer's.
        s1, s2: gain of the lowest frequencies of the skip that joins them.
        version: 2 scales the gain by the mean of the features over the channels.

    Source: Si et al., "FreeU: Free Lunch in Diffusion U-Net" (arXiv 2309.11497), equations 3
    to 5; version 2 of its repository.
    """

    b1: float
    b2: float
    s1: float
    s2: float
    _: KW_ONLY
    version: int = 2

    is_static = True

    def attach(self, network: nn.Module, _moment: StepState) -> Iterator[None]:
        """Change the inputs of the residual blocks of the second half."""
        config: Any = network.config
        first = config["block_out_channels"][0]
        gains = {4 * first: (self.b1, self.s1), 2 * first: (self.b2, self.s2)}
        with ExitStack() as hooks:
            for block, channels in _blocks_with_skip(network):
                if channels in gains:
                    hook = self._make_hook(channels, *gains[channels])
                    hooks.callback(block.register_forward_pre_hook(hook).remove)
            yield

    def _make_hook(self, channels: int, gain: float, skip_gain: float) -> Any:
        def change_input(_block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden, *rest = inputs
            features, skip = hidden[:, :channels].clone(), hidden[:, channels:]
            half = channels // 2
            features[:, :half] = features[:, :half] * self._gain(features, gain)
            return (torch.cat([features, _scale_low_frequencies(skip, skip_gain)], dim=1), *rest)

        return change_input

    def _gain(self, features: Tensor, gain: float) -> Tensor | float:
        if self.version == 1:
            return gain
        mean = features.mean(1, keepdim=True)
        low, high = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
        return 1 + (gain - 1) * (mean - low) / (high - low)


def _blocks_with_skip(network: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    """Yield the residual blocks that a skip joins, with the number of backbone channels."""
    config: Any = network.config
    channels = config["block_out_channels"][-1]
    ups: Any = network.get_submodule("up_blocks")
    for up in ups:
        for block in up.resnets:
            yield block, channels
            channels = block.out_channels


def _scale_low_frequencies(skip: Tensor, gain: float) -> Tensor:
    from diffusers.utils.torch_utils import fourier_filter

    filtered: Tensor = fourier_filter(skip, threshold=1, scale=gain)
    return filtered
