"""Latents whose sides are not multiples of a network's patch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def pad_to_patches(x: Tensor, patch: int) -> Tensor:
    """Return a latent ...×h×w, continued by wrapping round, with sides that patches fill."""
    from torch.nn import functional

    height, width = x.shape[-2:]
    down, right = -height % patch, -width % patch
    if not down and not right:
        return x
    flat = x.reshape(-1, 1, height, width)
    padded = functional.pad(flat, (0, right, 0, down), mode="circular")
    return padded.reshape(*x.shape[:-2], height + down, width + right)


def crop_to(output: Tensor, x: Tensor) -> Tensor:
    """Return an output without what was added to the sides of x."""
    return output[..., : x.shape[-2], : x.shape[-1]]
