"""Kinds of patches, the state of a run that they read, and a step of guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..schedules.model_sampling import ModelSampling


class Patch(Protocol):
    """A change to a model, by value; two patches with one `fingerprint` do the same."""

    @property
    def fingerprint(self) -> str: ...


class ValuePatch:
    """Base of patches that are frozen dataclasses of plain values.

    Attributes:
        is_static: a patch of the network computes the same at every step, reading nothing but its
            values and its inputs, so that a captured call may hold it.
    """

    is_static = False

    @property
    def fingerprint(self) -> str:
        """Identify the patch by its value."""
        return repr(self)


@runtime_checkable
class WeightPatch(Protocol):
    """A patch that changes weights."""

    def select_names(self, parameters: Iterable[str]) -> Iterable[str]:
        """Return the names of the parameters that the patch changes."""

    def change(self, name: str, weight: Tensor) -> Tensor:
        """Return a parameter, float32, with the patch merged in."""


@dataclass
class StepState:
    """The state of a run: guidance begins each call, patches of the network read it.

    Attributes:
        sigma: the noise level of the current call.
        sides: the side of each chunk of the batch, 0 positive and 1 negative.
        recorded: tensors that a network patch leaves for guidance, by the patch's fingerprint.
        generator: random numbers for patches, the same for each run of a seed.
    """

    sampling: ModelSampling
    _: KW_ONLY
    sigma: float = 0.0
    sides: tuple[int, ...] = ()
    recorded: dict[str, Tensor] = field(default_factory=dict)
    generator: torch.Generator = field(default_factory=torch.Generator)

    def begin_call(self, sigma: float, sides: tuple[int, ...]) -> None:
        """Note the noise level and the batch of the next network call."""
        self.sigma, self.sides = sigma, sides

    def is_between(self, start: float, end: float) -> bool:
        """Return True if sigma is between two shares of the schedule, from 0, noise, to 1."""
        high, low = (self.sampling.percent_to_sigma(share) for share in (start, end))
        return low <= self.sigma <= high


@dataclass(frozen=True, kw_only=True)
class GuidanceStep:
    """One call under guidance.

    Attributes:
        x: B×C×h×w with noise of level `sigma`.
        positive, negative: D of the sides; the same tensor where there is no negative side.
        denoise: returns D of a side (0 positive, 1 negative) for another x of this sigma.
        network: the denoising network; change it only around a call of `denoise`.
    """

    x: Tensor
    sigma: Tensor
    positive: Tensor
    negative: Tensor
    cfg: float
    denoise: Callable[[Tensor, int], Tensor]
    network: nn.Module
    state: StepState


class GuidancePatch(ValuePatch):
    """A patch of guidance; the methods of this base class change nothing.

    Attributes:
        needs_negative: evaluate the negative side at cfg 1 too.
    """

    needs_negative = False

    def pre_cfg(self, step: GuidanceStep) -> tuple[Tensor, Tensor]:
        """Change the positive and the negative side before they are mixed."""
        return step.positive, step.negative

    def mix(self, _step: GuidanceStep) -> Tensor | None:
        """Mix the sides in place of classifier-free guidance; the last patch with a mix counts."""
        return None

    def post_cfg(self, _step: GuidanceStep, denoised: Tensor) -> Tensor:
        """Change the mix."""
        return denoised


@runtime_checkable
class NetworkPatch(Protocol):
    """A patch of the network's computation."""

    def attach(self, network: nn.Module, state: StepState) -> Iterator[None]:
        """Change the network, yield, and undo the change."""
