"""What patches of sampling share: where a run is, and what guidance asks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ..schedules.model_sampling import ModelSampling


@dataclass
class StepState:
    """Where a run is; kept by guidance, read by the patches of the network.

    Attributes:
        sigma: the level of the call that is made.
        sides: the side of each piece of the batch, 0 positive and 1 negative.
        notes: what a patch of the network leaves for guidance, by the patch's fingerprint.
        draws: chance for patches that want some; the same for each run of a seed.
    """

    sampling: ModelSampling
    sigma: float = 0.0
    sides: tuple[int, ...] = ()
    notes: dict[str, Tensor] = field(default_factory=dict)
    draws: torch.Generator = field(default_factory=torch.Generator)

    def between(self, start: float, end: float) -> bool:
        """Whether the level lies between two shares of the way from noise (0) to image (1)."""
        high, low = (self.sampling.percent_to_sigma(share) for share in (start, end))
        return low <= self.sigma <= high


@dataclass(frozen=True)
class Step:
    """One call under guidance.

    Attributes:
        x: B×C×h×w at level `sigma`.
        positive, negative: D of the sides; the same where there is no negative side.
        ask: D of a side (0 positive, 1 negative) at another x of this level.
        network: the denoising network, to be changed within a call of `ask` only.
    """

    x: Tensor
    sigma: Tensor
    positive: Tensor
    negative: Tensor
    cfg: float
    ask: Callable[[Tensor, int], Tensor]
    network: nn.Module
    moment: StepState


class GuidingPatch:
    """A patch of how the two sides are mixed; all methods of this base leave things as they are.

    Attributes:
        needs_negative: the negative side is wanted at cfg 1 too.
    """

    needs_negative = False

    @property
    def fingerprint(self) -> str:
        """Tells two patches apart; they are frozen dataclasses."""
        return repr(self)

    def before(self, step: Step) -> tuple[Tensor, Tensor]:
        """The two sides, changed before they are mixed."""
        return step.positive, step.negative

    def mix(self, _step: Step) -> Tensor | None:
        """Another mix than classifier-free guidance; the last patch that has one counts."""
        return None

    def after(self, _step: Step, denoised: Tensor) -> Tensor:
        """The mix, changed."""
        return denoised


@runtime_checkable
class NetworkPatch(Protocol):
    """A patch of what the network computes."""

    def attach(self, network: nn.Module, moment: StepState) -> Iterator[None]:
        """Change the network, yield, and undo it."""


@contextmanager
def processed_by(attention: Any, processor: object) -> Iterator[None]:
    """Let another processor compute an attention layer of diffusers."""
    before = attention.processor
    attention.processor = processor
    try:
        yield
    finally:
        attention.processor = before


@contextmanager
def over_self_attentions(
    network: nn.Module, processor: Callable[[Any, list[int]], object]
) -> Iterator[None]:
    """Let other processors compute the layers that look at their own places.

    Args:
        processor: of a layer and the rows and columns that the network is asked with, which are
            kept up to date at each call.
    """
    with ExitStack() as attached:
        size = attached.enter_context(network_size(network))
        for layer in self_attentions(network):
            attached.enter_context(processed_by(layer, processor(layer, size)))
        yield


@contextmanager
def network_size(network: nn.Module) -> Iterator[list[int]]:
    """Rows and columns of what a network is asked with, kept up to date at each call."""
    size: list[int] = []

    def note(_network: nn.Module, inputs: tuple[Any, ...]) -> None:
        size[:] = inputs[0].shape[-2:]

    hook = network.register_forward_pre_hook(note)
    try:
        yield size
    finally:
        hook.remove()


def self_attentions(network: nn.Module) -> list[Any]:
    """The layers that look at their own places, in the order of diffusers' processors."""
    return _attentions(network, "attn1")


def cross_attentions(network: nn.Module) -> list[Any]:
    """The layers that look at the text, in the order of diffusers' processors."""
    return _attentions(network, "attn2")


def _attentions(network: Any, kind: str) -> list[Any]:
    extension = ".processor"
    names = [name for name in network.attn_processors if name.endswith(f"{kind}{extension}")]
    return [network.get_submodule(name.removesuffix(extension)) for name in names]


def middle_attentions(network: nn.Module) -> list[Any]:
    """The self-attention layers of a network's middle block; none where it has no attention."""
    attentions = getattr(network.get_submodule("mid_block"), "attentions", None) or ()
    return [
        block.attn1 for each in attentions if each is not None for block in each.transformer_blocks
    ]
