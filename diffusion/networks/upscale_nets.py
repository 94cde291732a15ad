"""Upscaling networks: ESRGAN's RRDBNet and Real-ESRGAN's compact network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pixel_shuffle, pixel_unshuffle

SLOPE = 0.2
RESIDUAL = 0.2


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class DenseBlock(nn.Module):
    """Five convolutions, each with the outputs of all before it as input."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for index in range(1, 6):
            outputs = growth if index < 5 else features
            self.add_module(f"conv{index}", _conv(features + (index - 1) * growth, outputs))

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for index in range(1, 5):
            added = leaky_relu(self.get_submodule(f"conv{index}")(features), SLOPE)
            features = torch.cat([features, added], 1)
        residual: Tensor = self.get_submodule("conv5")(features)
        return residual * RESIDUAL + x


class ResidualBlock(nn.Module):
    """Three dense blocks with a residual around them."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return residual * RESIDUAL + x


class RrdbNet(nn.Module):
    """ESRGAN's generator.

    Args:
        ups: how many times it doubles the size.
        unshuffle: factor of the pixel unshuffle at the input; the scale is 2^ups / unshuffle.

    Source: ESRGAN (arXiv 1809.00219); the unshuffle is Real-ESRGAN's (arXiv 2107.10833).
    """

    def __init__(self, features: int, growth: int, blocks: int, ups: int, unshuffle: int) -> None:
        super().__init__()
        self.unshuffle, self.scale = unshuffle, 2**ups // unshuffle
        self.conv_first = _conv(3 * unshuffle**2, features)
        self.body = nn.Sequential(*(ResidualBlock(features, growth) for _ in range(blocks)))
        self.conv_body = _conv(features, features)
        self.conv_up = nn.ModuleList(_conv(features, features) for _ in range(ups))
        self.conv_hr = _conv(features, features)
        self.conv_last = _conv(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Upscale B×3×H×W in 0..1 by `scale`; sides must be multiples of `unshuffle`."""
        features = self.conv_first(pixel_unshuffle(x, self.unshuffle))
        features = features + self.conv_body(self.body(features))
        for up in self.conv_up:
            features = leaky_relu(up(interpolate(features, scale_factor=2, mode="nearest")), SLOPE)
        upscaled: Tensor = self.conv_last(leaky_relu(self.conv_hr(features), SLOPE))
        return upscaled


class CompactNet(nn.Module):
    """A plain stack of convolutions at the input's size, added to the enlarged image.

    Source: Real-ESRGAN's SRVGGNetCompact.
    """

    def __init__(self, features: int, layers: int, scale: int) -> None:
        super().__init__()
        self.scale, self.unshuffle = scale, 1
        body: list[nn.Module] = [_conv(3, features), nn.PReLU(features)]
        for _ in range(layers):
            body += [_conv(features, features), nn.PReLU(features)]
        self.body = nn.Sequential(*body, _conv(features, 3 * scale**2))

    def forward(self, x: Tensor) -> Tensor:
        """Upscale B×3×H×W in 0..1 by `scale`."""
        enlarged = interpolate(x, scale_factor=self.scale, mode="nearest")
        return pixel_shuffle(self.body(x), self.scale) + enlarged
