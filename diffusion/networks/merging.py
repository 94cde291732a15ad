"""Merge two networks, weight by weight, when they are used. Source: ComfyUI's merge nodes.

Nothing is copied before: a merge is a patch that refers to the other network and its patches.
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
from .patching import group_by_parameter, merge_patches

Merged = TypeVar("Merged", Model, Clip)
UNCHANGED = (1.0, 0.0)


@dataclass(frozen=True)
class MergeShares:
    """Factors of a network's weights and of the other network's, by block.

    Attributes:
        before: up to the middle block, with the embeddings of timestep and size; all weights of
            networks other than a UNet.
        middle, after: in the middle block, and from there to the output.
    """

    before: tuple[float, float]
    middle: tuple[float, float]
    after: tuple[float, float]

    def for_parameter(self, name: str) -> tuple[float, float]:
        """Return the two factors of a parameter."""
        if name.startswith("mid_block."):
            return self.middle
        if name.startswith(("up_blocks.", "conv_norm_out.", "conv_out.")):
            return self.after
        return self.before


@dataclass(frozen=True, eq=False)
class MergePatch:
    """A patch that merges in another network; weights of other names or shapes stay as they are."""

    other: Model | Clip
    shares: MergeShares

    @property
    def fingerprint(self) -> str:
        """Identify the merge by its factors and the other network."""
        value = f"{self.shares!r}\0{self.other.fingerprint}"
        return hashlib.sha256(value.encode()).hexdigest()

    def select_names(self, parameters: Iterable[str]) -> Iterable[str]:
        """Return the parameters of both networks that the merge changes."""
        others = {name for name, _ in self.other.weights.module.named_parameters()}
        return [
            name
            for name in parameters
            if name in others and self.shares.for_parameter(name) != UNCHANGED
        ]

    def change(self, name: str, weight: Tensor) -> Tensor:
        """Return a parameter, float32, merged with the other network's patched one."""
        other = self.other.weights.module.get_parameter(name).data
        if other.shape != weight.shape:
            return weight
        own_share, other_share = self.shares.for_parameter(name)
        patched = merge_patches(name, other, self._patches.get(name, ()))
        return weight * own_share + patched.to(weight) * other_share

    @cached_property
    def _patches(self) -> dict[str, list[WeightPatch]]:
        patches = [patch for patch in self.other.patches if isinstance(patch, WeightPatch)]
        return group_by_parameter(patches, dict(self.other.weights.module.named_parameters()))


def blend(first: Merged, second: Merged, before: float, middle: float, after: float) -> Merged:
    """Blend two networks by the first one's share of each block; 1 is the first alone."""
    shares = MergeShares(*((share, 1.0 - share) for share in (before, middle, after)))
    return _merge(first, second, shares)


def add(first: Merged, second: Merged) -> Merged:
    """Add two networks; the second is usually a difference."""
    return _merge(first, second, MergeShares(*((1.0, 1.0),) * 3))


def subtract(first: Merged, second: Merged, factor: float) -> Merged:
    """Subtract the second network from the first, times a factor."""
    return _merge(first, second, MergeShares(*((factor, -factor),) * 3))


def _merge(first: Merged, second: Merged, shares: MergeShares) -> Merged:
    return replace(first, patches=(*first.patches, MergePatch(second, shares)))
