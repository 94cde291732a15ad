"""Patches put on a network just before use and taken off after, so that it stays as it was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .patch import NetworkPatch, StepState


class Patch(Protocol):
    """A change to a model, by value; `fingerprint` tells two apart."""

    @property
    def fingerprint(self) -> str: ...


@runtime_checkable
class WeightPatch(Protocol):
    """A patch that changes weights."""

    def names(self, parameters: Iterable[str]) -> Iterable[str]:
        """Those of the network's parameters that it changes."""

    def change(self, name: str, weight: Tensor) -> Tensor:
        """A parameter, float32, with this patch merged in."""


@contextmanager
def patched(
    module: nn.Module,
    patches: Sequence[Patch],
    halves: bool = False,
    moment: StepState | None = None,
) -> Iterator[None]:
    """Use a network with its patches, in their order.

    Each changed weight is computed in float32 from its base, through all patches, and rounded
    once. The base tensors are set aside untouched and put back, whatever happens.

    Args:
        moment: where the run is, for patches of what the network computes; without one, only
            weights are changed.
        halves: weights that float16 holds exactly, as they were stored, are rounded to it again.
    """
    parameters = dict(module.named_parameters())
    merging = [patch for patch in patches if isinstance(patch, WeightPatch)]
    bases: dict[str, Tensor] = {}
    try:
        for name, changing in by_name(merging, parameters).items():
            base = bases[name] = parameters[name].data
            weight = merged(name, base, changing)
            stored = torch.float16 if halves and _is_half(base) else base.dtype
            parameters[name].data = weight.to(stored).to(base.dtype)
        with ExitStack() as attached:
            for patch in patches:
                if moment is not None and isinstance(patch, NetworkPatch):
                    attached.enter_context(contextmanager(patch.attach)(module, moment))
            yield
    finally:
        for name, base in bases.items():
            parameters[name].data = base


def by_name(
    patches: Iterable[WeightPatch], parameters: Iterable[str]
) -> dict[str, list[WeightPatch]]:
    """The patches of each of these parameters, in their order."""
    found: dict[str, list[WeightPatch]] = {}
    for patch in patches:
        for name in patch.names(parameters):
            found.setdefault(name, []).append(patch)
    return found


def merged(name: str, base: Tensor, patches: Iterable[WeightPatch]) -> Tensor:
    """A parameter with patches merged in, float32."""
    with torch.no_grad():
        weight = base.float()
        for patch in patches:
            weight = patch.change(name, weight)
        return weight


def _is_half(weight: Tensor) -> bool:
    return torch.equal(weight, weight.half().to(weight.dtype))
