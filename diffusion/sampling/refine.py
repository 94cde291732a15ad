"""Refinement of large images by a model of a smaller native size, in tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn.functional import pad

from ..conditioning.conditioning import Conditioning
from ..networks.handles import Model, Vae
from ..networks.tiled_model import TiledModel
from ..networks.vae import decode, decode_tiled, encode, encode_tiled
from .hooks import SILENT, Hooks
from .sample import SamplePlan, sample

VAE_TILE_PX, VAE_OVERLAP_PX = 512, 64


@dataclass(frozen=True)
class TilePlan:
    """Tiles of `width`×`height` pixels, with `padding` pixels more on each side."""

    width: int
    height: int
    padding: int

    def patch(self, cell: int) -> TiledModel:
        """Return the tiling of a model whose latent cells are `cell` pixels wide."""
        width, height = (side + 2 * self.padding for side in (self.width, self.height))
        return TiledModel(max(1, width // cell), max(1, height // cell), 2 * self.padding // cell)


def tile_model(model: Model, plan: TilePlan) -> Model:
    """Return the model with this tiling in place of any that it has."""
    others = tuple(patch for patch in model.patches if not isinstance(patch, TiledModel))
    return replace(model, patches=(*others, plan.patch(model.family.vae_factor)))


def refine(
    image: Tensor,
    models: tuple[Model, Vae],
    sides: tuple[Conditioning, Conditioning],
    plan: SamplePlan,
    tiles: TilePlan,
    hooks: Hooks = SILENT,
) -> Tensor:
    """Sample image to image over a large image, which keeps its size.

    Args:
        image: B×H×W×C in 0..1.
        models: the model to sample with, and its VAE.
        sides: positive and negative conditioning.
    """
    model, vae = models
    height, width = image.shape[1:3]
    factor = vae.family.vae_factor
    edges = (0, -width % factor, 0, -height % factor)
    padded = pad(image[..., :3].movedim(-1, 1), edges, mode="replicate").movedim(1, -1)
    is_large = max(height, width) > VAE_TILE_PX
    size = (VAE_TILE_PX, VAE_OVERLAP_PX)
    latent = encode_tiled(vae, padded, *size) if is_large else encode(vae, padded)
    latent = sample(tile_model(model, tiles), latent, *sides, plan, hooks)
    pixels = decode_tiled(vae, latent, *size) if is_large else decode(vae, latent)
    return pixels[:, :height, :width].contiguous()
