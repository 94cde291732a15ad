"""The extra conditioning of SDXL's networks: a pooled encoding and a few numbers.

Source: SDXL (arXiv 2307.01952), section 2.2; the order of the numbers is the training code's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import SamplingError
from ..families.family import Family
from ..latents.latents import CELL_PX
from ..networks.weights import AddedConditioning
from .conditioning import PromptEntry, Sizes

# Aesthetic scores of the refiner. The second side of a guider gets the negative one, as in ComfyUI.
POSITIVE_SCORE, NEGATIVE_SCORE = 6.0, 2.5
POSITIVE = 0
NO_SIZES = Sizes()


def added_inputs(
    family: Family, x: Tensor, entries: Sequence[PromptEntry], sides: Sequence[int]
) -> AddedConditioning | None:
    """Return the extra conditioning for a batch of entries; None if the family has none.

    Args:
        x: B×C×h×w; each entry has B rows in the batch.
        sides: of each entry, 0 for a positive one.

    Raises:
        SamplingError: an entry has no pooled encoding of the text encoders.
    """
    if family.size_inputs == "none":
        return None
    batch = len(x)
    pooled, rows = [], []
    for entry, side in zip(entries, sides, strict=True):
        if entry.pooled is None:
            raise SamplingError(
                f"a model of family {family.name}: expected conditioning with a pooled encoding, "
                "got none; encode the prompt with CLIPTextEncode"
            )
        copies = -(-batch // len(entry.pooled))
        pooled.append(entry.pooled.repeat(copies, 1)[:batch])
        numbers = _numbers(family, x, entry.sizes or NO_SIZES, side)
        rows.append(torch.tensor([numbers]).repeat(batch, 1))
    return AddedConditioning(torch.cat(pooled).to(x.device), torch.cat(rows).to(x.device))


def _numbers(family: Family, x: Tensor, sizes: Sizes, side: int) -> list[float]:
    height = x.shape[-2] * CELL_PX if sizes.height is None else sizes.height
    width = x.shape[-1] * CELL_PX if sizes.width is None else sizes.width
    start = [height, width, sizes.crop_h, sizes.crop_w]
    if family.size_inputs == "score":
        default = POSITIVE_SCORE if side == POSITIVE else NEGATIVE_SCORE
        return [*map(float, start), default if sizes.score is None else sizes.score]
    target_height = height if sizes.target_height is None else sizes.target_height
    target_width = width if sizes.target_width is None else sizes.target_width
    return [*map(float, start), float(target_height), float(target_width)]
