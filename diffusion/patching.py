"""Patches put on a network just before use and taken off after, so that it stays as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


class Patch(Protocol):
    """A change to a model, by value; `fingerprint` tells two apart."""

    @property
    def fingerprint(self) -> str: ...


@runtime_checkable
class WeightPatch(Protocol):
    """A patch that changes weights."""

    @property
    def names(self) -> Iterable[str]:
        """The parameters that it changes."""

    def change(self, name: str, weight: Tensor) -> Tensor:
        """A parameter, float32, with this patch merged in."""


@contextmanager
def patched(module: nn.Module, patches: Sequence[Patch], halves: bool = False) -> Iterator[None]:
    """Use a network with its patches, in their order.

    Each changed weight is computed in float32 from its base, through all patches, and rounded
    once. The base tensors are set aside untouched and put back, whatever happens.

    Args:
        halves: weights that float16 holds exactly, as they were stored, are rounded to it again.
    """
    parameters = dict(module.named_parameters())
    merging = [patch for patch in patches if isinstance(patch, WeightPatch)]
    bases: dict[str, Tensor] = {}
    try:
        for name in dict.fromkeys(name for patch in merging for name in patch.names):
            base = bases[name] = parameters[name].data
            weight = _merged(name, base, merging)
            stored = torch.float16 if halves and _is_half(base) else base.dtype
            parameters[name].data = weight.to(stored).to(base.dtype)
        yield
    finally:
        for name, base in bases.items():
            parameters[name].data = base


def _merged(name: str, base: Tensor, patches: Sequence[WeightPatch]) -> Tensor:
    with torch.no_grad():
        weight = base.float()
        for patch in patches:
            if name in patch.names:
                weight = patch.change(name, weight)
        return weight


def _is_half(weight: Tensor) -> bool:
    return torch.equal(weight, weight.half().to(weight.dtype))
