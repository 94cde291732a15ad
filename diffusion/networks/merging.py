"""Networks mixed out of two, weight by weight, when they are used. Source: ComfyUI's merge nodes.

Nothing is copied before: the mix is a patch that refers to the other network with its own patches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from torch import Tensor

from .handles import Clip, Model
from .patch import WeightPatch
from .patching import merge_patches, patches_by_parameter

Mixed = TypeVar("Mixed", Model, Clip)
ALONE = (1.0, 0.0)


@dataclass(frozen=True)
class MergeShares:
    """What a weight, and that of the other network, is multiplied with, by where it stands.

    Attributes:
        before: up to the middle block of a denoising network, times and sizes too; all of others.
        middle, after: in the middle block, and from there to the output.
    """

    before: tuple[float, float]
    middle: tuple[float, float]
    after: tuple[float, float]

    def at(self, name: str) -> tuple[float, float]:
        """Those of a parameter."""
        if name.startswith("mid_block."):
            return self.middle
        if name.startswith(("up_blocks.", "conv_norm_out.", "conv_out.")):
            return self.after
        return self.before


@dataclass(frozen=True, eq=False)
class MergePatch:
    """A patch that mixes in another network; what that lacks, or has in other shapes, stays."""

    other: Model | Clip
    shares: MergeShares

    @property
    def fingerprint(self) -> str:
        """Tells two merges apart."""
        text = f"{self.shares!r}\0{self.other.fingerprint}"
        return hashlib.sha256(text.encode()).hexdigest()

    def select_names(self, parameters: Iterable[str]) -> Iterable[str]:
        """Those that both networks have, where the other has a share."""
        theirs = {name for name, _ in self.other.weights.module.named_parameters()}
        return [name for name in parameters if name in theirs and self.shares.at(name) != ALONE]

    def change(self, name: str, weight: Tensor) -> Tensor:
        """A parameter, float32, mixed with the other network's patched one."""
        other = self.other.weights.module.get_parameter(name).data
        if other.shape != weight.shape:
            return weight
        own, added = self.shares.at(name)
        return (
            weight * own
            + merge_patches(name, other, self._patches.get(name, ())).to(weight) * added
        )

    @cached_property
    def _patches(self) -> dict[str, list[WeightPatch]]:
        merging = [each for each in self.other.patches if isinstance(each, WeightPatch)]
        return patches_by_parameter(merging, dict(self.other.weights.module.named_parameters()))


def blend(first: Mixed, second: Mixed, before: float, middle: float, after: float) -> Mixed:
    """Shares of the first network, and what is left of the second; 1 is the first alone."""
    shares = MergeShares(*((share, 1.0 - share) for share in (before, middle, after)))
    return _mixed(first, second, shares)


def add(first: Mixed, second: Mixed) -> Mixed:
    """The sum of both, the second being a difference as a rule."""
    return _mixed(first, second, MergeShares(*((1.0, 1.0),) * 3))


def subtract(first: Mixed, second: Mixed, factor: float) -> Mixed:
    """The difference of both, times a factor."""
    return _mixed(first, second, MergeShares(*((factor, -factor),) * 3))


def _mixed(first: Mixed, second: Mixed, shares: MergeShares) -> Mixed:
    return replace(first, patches=(*first.patches, MergePatch(second, shares)))
