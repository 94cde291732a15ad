"""Changed pictures pasted back: outside the mask every value stays the source's, bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor

from .compose import match_channels, repeat_to_batch
from .masks import grow as grown
from .masks import highest


def widen(mask: Tensor, grow: int, blend: int) -> Tensor:
    """A mask grown by `grow` pixels, of which the outer `blend` fall off in equal steps.

    It covers what the mask covers, at least as much; it is 0 further than `grow` pixels (along
    rows, columns or diagonals) from all that the mask covers. Grey values fall off alike.

    Args:
        mask: B×H×W.
        blend: at most `grow`.
    """
    wide = grown(mask, grow - blend, tapered=False)
    result = wide
    for step in range(1, blend + 1):
        wide = highest(highest(wide, 1, 1, 1), 2, 1, 1)
        result = torch.maximum(result, wide * (1 - step / (blend + 1)))
    return result


def paste(source: Tensor, changed: Tensor, share: Tensor, x: int = 0, y: int = 0) -> Tensor:
    """The source with a changed part on it.

    Where the share is 0, and where the changed part does not reach, the source's values are kept,
    whatever is in the other, be it NaN; where it is 1 the changed ones are taken.

    Args:
        source: pictures B×H×W×C.
        changed: pictures b×h×w×C whose top left corner comes at pixel (x, y), all inside.
        share: b×h×w, how much of the changed part shows.
    """
    changed = match_channels(source, changed)
    batch = max(len(source), len(changed), len(share))
    result, changed = repeat_to_batch(source, batch).clone(), repeat_to_batch(changed, batch)
    share = repeat_to_batch(share, batch).unsqueeze(-1)
    high, wide = changed.shape[1:3]
    below = result[:, y : y + high, x : x + wide]
    mixed = torch.where(share == 1, changed, changed * share + below * (1 - share))
    result[:, y : y + high, x : x + wide] = torch.where(share == 0, below, mixed)
    return result
