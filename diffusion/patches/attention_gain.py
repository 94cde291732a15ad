"""Gains of the projections of attention, as a change of weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ..networks.patch import ValuePatch

LAYER = re.compile(r"\.(attn[12])\.to_(?:(q|k|v)\.weight|(out)\.0\.(?:weight|bias))$")
SELF, CROSS = "attn1", "attn2"


@dataclass(frozen=True)
class AttentionGain(ValuePatch):
    """Multiplies the query, key, value and output projections of attention layers.

    Args:
        q, k, v, out: the gain of each projection; 1 changes nothing.
        layers: SELF or CROSS, the attention to the latent or to the prompt.
    """

    q: float = 1.0
    k: float = 1.0
    v: float = 1.0
    out: float = 1.0
    layers: str = SELF

    def select_names(self, parameters: Iterable[str]) -> Iterable[str]:
        """Return the parameters that the patch changes."""
        matches = ((name, LAYER.search(name)) for name in parameters)
        return [name for name, match in matches if match and match[1] == self.layers]

    def change(self, name: str, weight: Tensor) -> Tensor:
        """Return a parameter, float32, with the patch merged in."""
        match = LAYER.search(name)
        assert match is not None
        gain: float = getattr(self, match[2] or match[3])
        return weight * gain
