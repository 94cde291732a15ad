"""Prompts for a region of the image, by rectangle or by mask."""

from __future__ import annotations

from typing import Annotated, Literal

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Conditioning, LatentOffset, Mask, Share, WindowSide

Weight = Annotated[float, Between(0.0, 10.0, step=0.01)]


@node("ConditioningSetArea", category="model/conditioning/transform")
def conditioning_set_area(
    conditioning: Conditioning,
    width: WindowSide = 64,
    height: WindowSide = 64,
    x: LatentOffset = 0,
    y: LatentOffset = 0,
    strength: Weight = 1.0,
) -> Conditioning:
    """Limit a conditioning to a rectangle; add it to another with ConditioningCombine.

    The model sees only the rectangle, and its edges fade. The other side is evaluated for the same
    rectangle too.

    Args:
        conditioning: the conditioning to limit.
        width, height: size in pixels, rounded down to 8 and cut at the edges of the image.
        x, y: top left corner in pixels.
        strength: its weight among the conditionings of its side.

    Source: ComfyUI's ConditioningSetArea.
    """
    from latentloom.diffusion.conditioning.conditioning import with_area
    from latentloom.diffusion.conditioning.regions import Area
    from latentloom.diffusion.latents.latents import CELL_PX

    rows, columns, top, left = (pixels // CELL_PX for pixels in (height, width, y, x))
    return with_area(conditioning, Area(rows, columns, top, left), strength)


@node("ConditioningSetAreaPercentage", category="model/conditioning/transform")
def conditioning_set_area_percentage(
    conditioning: Conditioning,
    width: Share = 1.0,
    height: Share = 1.0,
    x: Share = 0.0,
    y: Share = 0.0,
    strength: Weight = 1.0,
) -> Conditioning:
    """Limit a conditioning to a rectangle in shares of the image, for any image size.

    Args:
        conditioning: the conditioning to limit.
        width, height: size as shares of the sides of the image.
        x, y: top left corner as shares of them.
        strength: its weight among the conditionings of its side.

    Source: ComfyUI's ConditioningSetAreaPercentage.
    """
    from latentloom.diffusion.conditioning.conditioning import with_area
    from latentloom.diffusion.conditioning.regions import Area

    return with_area(conditioning, Area(height, width, y, x, is_relative=True), strength)


@node("ConditioningSetAreaStrength", category="model/conditioning/transform")
def conditioning_set_area_strength(
    conditioning: Conditioning, strength: Weight = 1.0
) -> Conditioning:
    """Set the weight of a conditioning among those of its side.

    Args:
        conditioning: the conditioning to weight.
        strength: its weight.

    Source: ComfyUI's ConditioningSetAreaStrength.
    """
    from latentloom.diffusion.conditioning.conditioning import with_strength

    return with_strength(conditioning, strength)


@node("ConditioningSetMask", category="model/conditioning/transform")
def conditioning_set_mask(
    conditioning: Conditioning,
    mask: Mask,
    strength: Weight = 1.0,
    set_cond_area: Literal["default", "mask bounds"] = "default",
) -> Conditioning:
    """Weight a conditioning by a mask; add it to another with ConditioningCombine.

    Args:
        conditioning: the conditioning to limit.
        mask: B×H×W, resized to the latent.
        strength: factor on the mask.
        set_cond_area: with `mask bounds` the model sees only the smallest area that holds it.

    Source: ComfyUI's ConditioningSetMask.
    """
    from latentloom.diffusion.conditioning.conditioning import with_mask

    return with_mask(conditioning, mask, strength, set_cond_area == "mask bounds")
