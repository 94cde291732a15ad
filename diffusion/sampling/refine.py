"""Large images refined by a model of a smaller native size, in tiles that agree."""

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
    """How an image is seen: tiles of `width`×`height` pixels, with `padding` more on each side."""

    width: int
    height: int
    padding: int

    def patch(self, cell: int) -> TiledModel:
        """The tiling of a model whose latent cells are this wide."""
        width, height = (side + 2 * self.padding for side in (self.width, self.height))
        return TiledModel(max(1, width // cell), max(1, height // cell), 2 * self.padding // cell)


def tile_model(model: Model, plan: TilePlan) -> Model:
    """The model, asked in tiles; a tiling that it had is replaced."""
    others = tuple(each for each in model.patches if not isinstance(each, TiledModel))
    return replace(model, patches=(*others, plan.patch(model.family.vae_factor)))


def refine(
    image: Tensor,
    models: tuple[Model, Vae],
    sides: tuple[Conditioning, Conditioning],
    plan: SamplePlan,
    tiles: TilePlan,
    hooks: Hooks = SILENT,
) -> Tensor:
    """Image to image over a large image, of the same size as before.

    Args:
        image: B×H×W×C in 0..1.
        models: what samples, and what encodes and decodes.
        sides: positive and negative conditioning.
    """
    model, vae = models
    height, width = image.shape[1:3]
    factor = vae.family.vae_factor
    edges = (0, -width % factor, 0, -height % factor)
    whole = pad(image[..., :3].movedim(-1, 1), edges, mode="replicate").movedim(1, -1)
    large = max(height, width) > VAE_TILE_PX
    size = (VAE_TILE_PX, VAE_OVERLAP_PX)
    latent = encode_tiled(vae, whole, *size) if large else encode(vae, whole)
    latent = sample(tile_model(model, tiles), latent, *sides, plan, hooks)
    pixels = decode_tiled(vae, latent, *size) if large else decode(vae, latent)
    return pixels[:, :height, :width].contiguous()
