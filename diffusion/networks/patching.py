"""Apply patches to a network just before use, and undo them after."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
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
    *,
    in_place: bool = False,
    dtype: torch.dtype | None = None,
) -> Iterator[None]:
    """Use a network with patches applied in their order.

    Each changed weight is computed in float32 from its original, through all patches, and rounded
    once. The original tensors are put back even after an error.

    Args:
        rounds_to_float16: round a changed weight to float16 if float16 holds the original exactly.
        state: of the run, for patches of the computation; without it only weights are changed.
        in_place: write changed weights into the memory of the original ones, which captured
            calls read.
        dtype: that the network computes in; changed weights are not stored in a narrower one.
    """
    if not patches:
        yield
        return
    parameters = dict(module.named_parameters())
    weight_patches = [patch for patch in patches if isinstance(patch, WeightPatch)]
    originals: dict[str, Tensor] = {}
    try:
        for name, changes in group_by_parameter(weight_patches, parameters).items():
            original = parameters[name].data
            originals[name] = original.clone() if in_place else original
            weight = merge_patches(name, original, changes)
            is_float16 = rounds_to_float16 and _fits_float16(original)
            is_narrow = dtype is not None and original.dtype.itemsize < dtype.itemsize
            own = dtype if is_narrow and dtype is not None else original.dtype
            rounded = weight.to(torch.float16 if is_float16 else own)
            _store(parameters[name], rounded.to(own), in_place)
        with ExitStack() as attached:
            for patch in patches:
                if state is not None and isinstance(patch, NetworkPatch):
                    attached.enter_context(contextmanager(patch.attach)(module, state))
            yield
    finally:
        for name, original in originals.items():
            _store(parameters[name], original, in_place)


def _store(parameter: nn.Parameter, weight: Tensor, in_place: bool) -> None:
    if in_place:
        parameter.data.copy_(weight)
    else:
        parameter.data = weight


def why_eager(patches: Sequence[Patch], state: StepState | None) -> str | None:
    """Say which patch keeps a network from fast calls; None if none does."""
    for patch in patches:
        if state is not None and isinstance(patch, NetworkPatch) and not _is_static(patch):
            return f"{type(patch).__name__} changes its computation"
    return None


def patch_keys(patches: Sequence[Patch]) -> tuple[Hashable, Hashable]:
    """Return keys of the patches of weights, and of those of the computation."""
    weights = tuple(patch.fingerprint for patch in patches if isinstance(patch, WeightPatch))
    static = tuple(patch.fingerprint for patch in patches if isinstance(patch, NetworkPatch))
    return weights, static


def _is_static(patch: Patch) -> bool:
    return bool(getattr(patch, "is_static", False))


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
