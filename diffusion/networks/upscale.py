"""Images made larger by a network, in tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..weights.upscale_file import read_upscale_network
from .handles import NetworkHandle, Weights
from .network_files import load_network_file, load_shared
from .residency import retry_when_out_of_memory
from .tiles import in_tiles, tile_count
from .upscale_nets import CompactNet, RrdbNet

TILE_PX, MIN_TILE_PX, OVERLAP_PX = 512, 128, 32
OnTile = Callable[[int, int], None]


class UpscaleWeights(Weights):
    """An upscaling network."""

    @property
    def network(self) -> RrdbNet | CompactNet:
        """The network with what it says of itself."""
        found = self.module
        assert isinstance(found, RrdbNet | CompactNet)
        return found


@dataclass(frozen=True, eq=False)
class UpscaleModel(NetworkHandle):
    """An upscaling network as it travels on edges."""

    weights: UpscaleWeights

    @property
    def scale(self) -> int:
        """What both sides are multiplied with."""
        return self.weights.network.scale


def load_upscaler(path: Path) -> UpscaleModel:
    """An upscaling network from a file; weights in use already are shared.

    Raises:
        ModelFileError: it is damaged, unsafe, or of an unknown kind.
    """
    part = read_upscale_network(path)

    def make(digest: str) -> UpscaleWeights:
        options = {key: value for key, value in part.config.items() if key != "kind"}
        kind: type[nn.Module] = RrdbNet if part.config["kind"] == "rrdb" else CompactNet
        return UpscaleWeights(
            load_network_file(path, part, partial(kind, **options), torch.float32), digest
        )

    return UpscaleModel(load_shared("upscaler", make, path))


def upscale(model: UpscaleModel, image: Tensor, on_tile: OnTile) -> Tensor:
    """The images, larger by the network's scale, cut to 0..1.

    Tiles of 512 pixels overlap by 32; where memory is short they are halved, down to 128.

    Args:
        image: B×H×W×C in 0..1; alpha is left out.
        on_tile: (tiles done, tiles in all).

    Raises:
        OutOfMemoryError: the smallest tiles do not fit either.
    """
    tile = TILE_PX
    while tile > MIN_TILE_PX:
        try:
            return _upscale(model, image, tile, on_tile)
        except torch.OutOfMemoryError:
            tile //= 2
    return retry_when_out_of_memory(lambda: _upscale(model, image, MIN_TILE_PX, on_tile))


def _upscale(model: UpscaleModel, image: Tensor, tile: int, on_tile: OnTile) -> Tensor:
    weights = model.weights
    total = len(image) * tile_count(image.shape[1], image.shape[2], tile, OVERLAP_PX)
    done = 0

    def whole(piece: Tensor, _top: int, _left: int) -> Tensor:
        nonlocal done
        height, width = piece.shape[-2:]
        edges = (0, -width % module.unshuffle, 0, -height % module.unshuffle)
        found: Tensor = module(pad(piece.to(weights.device), edges, mode="replicate"))
        done += 1
        on_tile(done, total)
        return found[..., : height * module.scale, : width * module.scale].float().cpu()

    pixels = image[..., :3].movedim(-1, 1)
    if pixels.shape[1] == 1:
        pixels = pixels.repeat(1, 3, 1, 1)
    sides = (tile, tile)
    with weights.use():
        module = weights.network
        made = [
            in_tiles(whole, pixels[index : index + 1], sides, OVERLAP_PX, module.scale)
            for index in range(len(pixels))
        ]
        return torch.cat(made).clamp(0.0, 1.0).movedim(1, -1).contiguous().clone()
