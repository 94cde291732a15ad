"""Prompts for a part of the image: by rectangle or by mask."""

from __future__ import annotations

from typing import Annotated, Literal

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Conditioning, LatentOffset, Mask, Share, WindowSide

Weight = Annotated[float, Between(0.0, 10.0, step=0.01)]


@node("ConditioningSetArea", category="conditioning")
def conditioning_set_area(
    conditioning: Conditioning,
    width: WindowSide = 64,
    height: WindowSide = 64,
    x: LatentOffset = 0,
    y: LatentOffset = 0,
    strength: Weight = 1.0,
) -> Conditioning:
    """Let a conditioning hold in a rectangle only; put it beside another by ConditioningCombine.

    The model sees the rectangle alone, with faded edges. The other side is asked for the same
    rectangle too.

    Args:
        conditioning: what is limited.
        width, height: in pixels, rounded down to 8; cut at the image's edges.
        x, y: the left top corner in pixels.
        strength: its weight among the conditionings of its side.

    Source: ComfyUI's ConditioningSetArea.
    """
    from latentloom.diffusion.conditioning.conditioning import with_area
    from latentloom.diffusion.conditioning.regions import Area
    from latentloom.diffusion.latents.latents import CELL_PX

    old_height, old_width, top, left = (pixels // CELL_PX for pixels in (height, width, y, x))
    return with_area(conditioning, Area(old_height, old_width, top, left), strength)


@node("ConditioningSetAreaPercentage", category="conditioning")
def conditioning_set_area_percentage(
    conditioning: Conditioning,
    width: Share = 1.0,
    height: Share = 1.0,
    x: Share = 0.0,
    y: Share = 0.0,
    strength: Weight = 1.0,
) -> Conditioning:
    """ConditioningSetArea in shares of the image, so that it fits any size.

    Args:
        conditioning: what is limited.
        width, height: shares of the image's sides.
        x, y: the left top corner, as shares of them.
        strength: its weight among the conditionings of its side.

    Source: ComfyUI's ConditioningSetAreaPercentage.
    """
    from latentloom.diffusion.conditioning.conditioning import with_area
    from latentloom.diffusion.conditioning.regions import Area

    return with_area(conditioning, Area(height, width, y, x, is_relative=True), strength)


@node("ConditioningSetAreaStrength", category="conditioning")
def conditioning_set_area_strength(
    conditioning: Conditioning, strength: Weight = 1.0
) -> Conditioning:
    """Set the weight of a conditioning among those of its side.

    Args:
        conditioning: what is weighed.
        strength: its weight.

    Source: ComfyUI's ConditioningSetAreaStrength.
    """
    from latentloom.diffusion.conditioning.conditioning import with_strength

    return with_strength(conditioning, strength)


@node("ConditioningSetMask", category="conditioning")
def conditioning_set_mask(
    conditioning: Conditioning,
    mask: Mask,
    strength: Weight = 1.0,
    set_cond_area: Literal["default", "mask bounds"] = "default",
) -> Conditioning:
    """Let a conditioning count as much as a mask says; put it beside another by Combine.

    Args:
        conditioning: what is limited.
        mask: B×H×W, resized to the latent.
        strength: what the mask is multiplied with.
        set_cond_area: `mask bounds` shows the model only the smallest area that holds the mask.

    Source: ComfyUI's ConditioningSetMask.
    """
    from latentloom.diffusion.conditioning.conditioning import with_mask

    return with_mask(conditioning, mask, strength, set_cond_area == "mask bounds")
