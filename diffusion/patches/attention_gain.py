"""Gains of the projections of self-attention, as a change of weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ..networks.patch import ValuePatch

LAYER = re.compile(r"\.attn1\.to_(?:(q|k|v)\.weight|(out)\.0\.(?:weight|bias))$")


@dataclass(frozen=True)
class AttentionGain(ValuePatch):
    """Multiplies the query, key, value and output projections of self-attention.

    Args:
        q, k, v, out: the gain of each projection; 1 changes nothing.
    """

    q: float = 1.0
    k: float = 1.0
    v: float = 1.0
    out: float = 1.0

    def select_names(self, parameters: Iterable[str]) -> Iterable[str]:
        """Return the parameters that the patch changes."""
        return [name for name in parameters if LAYER.search(name)]

    def change(self, name: str, weight: Tensor) -> Tensor:
        """Return a parameter, float32, with the patch merged in."""
        match = LAYER.search(name)
        assert match is not None
        gain: float = getattr(self, match[1] or match[2])
        return weight * gain
