"""The extra conditioning of SDXL's networks: a pooled encoding and a few numbers.

Source: SDXL (arXiv 2307.01952), section 2.2; the order of the numbers is the training code's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import SamplingError
from .conditions import Prompt, Sizes
from .family import Family

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Aesthetic scores of the refiner. The second side of a guider gets the negative one, as in ComfyUI.
POSITIVE_SCORE, NEGATIVE_SCORE = 6.0, 2.5
POSITIVE = 0


NO_SIZES = Sizes()


class AddedConditioning(NamedTuple):
    """Conditioning besides the prompt: pooled encodings B×d, and sizes and scores B×n."""

    text_embeds: Tensor
    time_ids: Tensor


def make_added_kwargs(added: AddedConditioning | None, dtype: torch.dtype) -> dict[str, Any]:
    """Return `added_cond_kwargs` for diffusers' networks, or no argument without it."""
    if added is None:
        return {}
    return {"added_cond_kwargs": {key: value.to(dtype) for key, value in added._asdict().items()}}


def added_inputs(
    family: Family, x: Tensor, prompts: Sequence[Prompt], sides: Sequence[int]
) -> AddedConditioning | None:
    """Return the extra conditioning for a batch of prompts; None if the family has none.

    Args:
        x: B×C×h×w; each prompt has B rows in the batch.
        sides: of each prompt, 0 for a positive one.

    Raises:
        SamplingError: a prompt has no pooled encoding of the text encoders.
    """
    if family.size_inputs == "none":
        return None
    import torch

    pooled, rows = [], []
    for prompt, side in zip(prompts, sides, strict=True):
        if prompt.pooled is None:
            raise SamplingError(
                f"a model of family {family.name}: expected conditioning with a pooled encoding, "
                "got none; encode the prompt with CLIPTextEncode"
            )
        pooled.append(repeat_rows(prompt.pooled, len(x)))
        numbers = _numbers(family, x, prompt.sizes or NO_SIZES, side)
        rows.append(torch.tensor([numbers]).repeat(len(x), 1))
    return AddedConditioning(torch.cat(pooled).to(x.device), torch.cat(rows).to(x.device))


def repeat_rows(rows: Tensor, count: int) -> Tensor:
    """Return `count` rows, repeated from the first if there are fewer."""
    copies = -(-count // len(rows))
    return rows.repeat(copies, *[1] * (rows.ndim - 1))[:count]


def _numbers(family: Family, x: Tensor, sizes: Sizes, side: int) -> list[float]:
    cell_px = family.space.cell_px
    height = x.shape[-2] * cell_px if sizes.height is None else sizes.height
    width = x.shape[-1] * cell_px if sizes.width is None else sizes.width
    start = [height, width, sizes.crop_h, sizes.crop_w]
    if family.size_inputs == "score":
        default = POSITIVE_SCORE if side == POSITIVE else NEGATIVE_SCORE
        return [*map(float, start), default if sizes.score is None else sizes.score]
    target_height = height if sizes.target_height is None else sizes.target_height
    target_width = width if sizes.target_width is None else sizes.target_width
    return [*map(float, start), float(target_height), float(target_width)]
