"""Check what networks return: NaN and infinity would become black images without a message."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import NonFiniteError


def check_finite(network: str, *outputs: Tensor) -> None:
    """Check that a network's outputs are numbers.

    Raises:
        NonFiniteError: there is NaN or infinity in them.
    """
    if not all(bool(torch.isfinite(output).all()) for output in outputs):
        raise non_finite(network)


def non_finite(network: str) -> NonFiniteError:
    """Return the error of a network that gives NaN or infinity."""
    return NonFiniteError(
        f"{network} gave NaN or infinity; its weights or its input are damaged, or it "
        "overflows at this precision: try another file of it"
    )
