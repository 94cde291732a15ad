"""Upscale images with a network, in tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..weights.upscale_file import read_upscale_network
from .finite import check_finite
from .handles import NetworkHandle
from .network_files import load_network_file, load_shared
from .residency import retry_when_out_of_memory
from .tiles import apply_in_tiles, count_tiles
from .upscale_nets import CompactNet, RrdbNet
from .weights import Weights

TILE_PX, MIN_TILE_PX, OVERLAP_PX = 512, 128, 32
OnProgress = Callable[[int, int], None]


class UpscaleWeights(Weights):
    """An upscaling network."""

    @property
    def network(self) -> RrdbNet | CompactNet:
        """The network, with its attributes."""
        network = self.module
        assert isinstance(network, RrdbNet | CompactNet)
        return network


@dataclass(frozen=True, eq=False)
class UpscaleModel(NetworkHandle):
    """An upscaling network as it travels on edges."""

    weights: UpscaleWeights

    @property
    def scale(self) -> int:
        """The factor of both sides."""
        return self.weights.network.scale


def load_upscaler(path: Path) -> UpscaleModel:
    """Load an upscaling network from a file; weights in use already are shared.

    Raises:
        ModelFileError: it is corrupt, unsafe, or of an unknown kind.
    """
    part = read_upscale_network(path)

    def make(digest: str) -> UpscaleWeights:
        options = {key: value for key, value in part.config.items() if key != "kind"}
        kind: type[nn.Module] = RrdbNet if part.config["kind"] == "rrdb" else CompactNet
        return UpscaleWeights(
            load_network_file(path, part, partial(kind, **options), torch.float32), digest
        )

    return UpscaleModel(load_shared("upscaler", make, path))


def upscale(model: UpscaleModel, image: Tensor, on_tile: OnProgress) -> Tensor:
    """Upscale images by the network's scale, clamped to 0..1.

    Tiles have 512 pixels and overlap by 32; if memory runs out they are halved, down to 128.

    Args:
        image: B×H×W×C in 0..1; alpha is dropped.
        on_tile: called with the number of finished tiles and of all tiles.

    Raises:
        OutOfMemoryError: the smallest tiles do not fit either.
    """
    tile_px = TILE_PX
    while tile_px > MIN_TILE_PX:
        try:
            return _upscale(model, image, tile_px, on_tile)
        except torch.OutOfMemoryError:
            tile_px //= 2
    return retry_when_out_of_memory(lambda: _upscale(model, image, MIN_TILE_PX, on_tile))


def _upscale(model: UpscaleModel, image: Tensor, tile_px: int, on_tile: OnProgress) -> Tensor:
    weights = model.weights
    total = len(image) * count_tiles(image.shape[1], image.shape[2], tile_px, OVERLAP_PX)
    done = 0

    def upscale_tile(tile: Tensor, _top: int, _left: int) -> Tensor:
        nonlocal done
        height, width = tile.shape[-2:]
        edges = (0, -width % network.unshuffle, 0, -height % network.unshuffle)
        upscaled: Tensor = network(pad(tile.to(weights.device), edges, mode="replicate"))
        check_finite("the upscaling network", upscaled)
        done += 1
        on_tile(done, total)
        return upscaled[..., : height * network.scale, : width * network.scale].float().cpu()

    pixels = image[..., :3].movedim(-1, 1)
    if pixels.shape[1] == 1:
        pixels = pixels.repeat(1, 3, 1, 1)
    sides = (tile_px, tile_px)
    with weights.use():
        network = weights.network
        images = [
            apply_in_tiles(upscale_tile, one[None], sides, OVERLAP_PX, network.scale)
            for one in pixels
        ]
        return torch.cat(images).clamp(0.0, 1.0).movedim(1, -1).contiguous().clone()
