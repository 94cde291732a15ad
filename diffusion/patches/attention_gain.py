"""Gains of self-attention's projections, as a change of weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

LAYER = re.compile(r"\.attn1\.to_(?:(q|k|v)\.weight|(out)\.0\.(?:weight|bias))$")


@dataclass(frozen=True)
class AttentionGain:
    """Multiplies what self-attention asks, offers, takes and gives.

    Args:
        q, k, v, out: the gain of each projection; 1 leaves it.
    """

    q: float = 1.0
    k: float = 1.0
    v: float = 1.0
    out: float = 1.0

    @property
    def fingerprint(self) -> str:
        """Tells two patches apart."""
        return repr(self)

    def select_names(self, parameters: Iterable[str]) -> Iterable[str]:
        """The parameters that it changes."""
        return [name for name in parameters if LAYER.search(name)]

    def change(self, name: str, weight: Tensor) -> Tensor:
        """A parameter, float32, with this patch merged in."""
        found = LAYER.search(name)
        assert found is not None
        gain: float = getattr(self, found[1] or found[2])
        return weight * gain
