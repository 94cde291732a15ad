"""Apply patches to a network just before use, and undo them after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from .patch import NetworkPatch, Patch, StepState, WeightPatch


@contextmanager
def apply_patches(
    module: nn.Module,
    patches: Sequence[Patch],
    rounds_to_float16: bool = False,
    state: StepState | None = None,
) -> Iterator[None]:
    """Use a network with patches applied in their order.

    Each changed weight is computed in float32 from its original, through all patches, and rounded
    once. The original tensors are put back even after an error.

    Args:
        rounds_to_float16: round a changed weight to float16 if float16 holds the original exactly.
        state: of the run, for patches of the computation; without it only weights are changed.
    """
    parameters = dict(module.named_parameters())
    weight_patches = [patch for patch in patches if isinstance(patch, WeightPatch)]
    originals: dict[str, Tensor] = {}
    try:
        for name, changes in group_by_parameter(weight_patches, parameters).items():
            original = originals[name] = parameters[name].data
            weight = merge_patches(name, original, changes)
            is_float16 = rounds_to_float16 and _fits_float16(original)
            stored = torch.float16 if is_float16 else original.dtype
            parameters[name].data = weight.to(stored).to(original.dtype)
        with ExitStack() as attached:
            for patch in patches:
                if state is not None and isinstance(patch, NetworkPatch):
                    attached.enter_context(contextmanager(patch.attach)(module, state))
            yield
    finally:
        for name, original in originals.items():
            parameters[name].data = original


def group_by_parameter(
    patches: Iterable[WeightPatch], parameters: Iterable[str]
) -> dict[str, list[WeightPatch]]:
    """Return the patches that change each parameter, in their order."""
    by_parameter: dict[str, list[WeightPatch]] = {}
    for patch in patches:
        for name in patch.select_names(parameters):
            by_parameter.setdefault(name, []).append(patch)
    return by_parameter


def merge_patches(name: str, original: Tensor, patches: Iterable[WeightPatch]) -> Tensor:
    """Return a parameter with patches merged in, float32."""
    with torch.no_grad():
        weight = original.float()
        for patch in patches:
            weight = patch.change(name, weight)
        return weight


def _fits_float16(weight: Tensor) -> bool:
    return torch.equal(weight, weight.half().to(weight.dtype))
