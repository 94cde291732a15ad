"""`denoise(x, sigma)` of a model under guidance: the sides mixed by a style and by patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from ..conditioning.conditioning import Conditioning, share_controls
from ..latents.latents import Latent
from ..networks.handles import Model
from ..networks.patch import GuidancePatch, GuidanceStep, StepState
from .hooks import SILENT, Hooks
from .sides import NEGATIVE, POSITIVE, SECOND, Sides, SidesDenoiser

Style = Literal["single", "regular", "nested", "perpendicular"]
# D of the side to go to and of the side to go away from -> their mix.
Formula = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Guidance:
    """A model, its prompts and how their predictions are mixed; it travels on edges.

    Attributes:
        positive, negative: without a negative side the result is D of the positive one.
        cfg: classifier-free guidance (arXiv 2207.12598) of the positive side against the
            negative one; with a second prompt, against that.
        second: a prompt between the two, as in InstructPix2Pix (arXiv 2211.09800).
        second_cfg: guidance of the second prompt against the negative side.
        style: how the sides are mixed; see the functions in STYLES.
        scales: cfg of equal parts of a batch that were put together; empty for one cfg.
    """

    model: Model
    positive: Conditioning
    negative: Conditioning = ()
    cfg: float = 1.0
    second: Conditioning = ()
    second_cfg: float = 1.0
    style: Style = "single"
    scales: tuple[float, ...] = ()

    def scale_for(self, x: Tensor) -> float | Tensor:
        """Return cfg, for parts of a batch with scales of their own B×1×1×1."""
        if len(set(self.scales)) < 2:
            return self.cfg
        scales = x.new_tensor(self.scales).repeat_interleave(len(x) // len(self.scales))
        return scales.view(-1, *(1,) * (x.ndim - 1))


class Mix(Protocol):
    """Guidance from one side past another, as patches of the model change it."""

    def __call__(
        self, toward: int, away: int, cfg: float | Tensor, formula: Formula | None = None
    ) -> Tensor: ...


# D under guidance, and D of the side that it is guided away from.
Guided = tuple[Tensor, Tensor]


def guide_single(guidance: Guidance, sides: Sides, mix: Mix) -> Guided:
    """Guide from the negative past the positive side."""
    return mix(POSITIVE, NEGATIVE, guidance.scale_for(sides.positive)), sides.negative


def guide_regular(guidance: Guidance, sides: Sides, mix: Mix) -> Guided:
    """Add the guidance of the positive side to that of the second one."""
    guided = mix(SECOND, NEGATIVE, guidance.second_cfg)
    return guided + (sides.positive - sides.second) * guidance.cfg, sides.negative


def guide_nested(guidance: Guidance, sides: Sides, mix: Mix) -> Guided:
    """Guide by the result of the positive against the second side."""
    inner = mix(POSITIVE, SECOND, guidance.cfg)
    return sides.negative + (inner - sides.negative) * guidance.second_cfg, sides.second


def guide_perpendicular(guidance: Guidance, sides: Sides, mix: Mix) -> Guided:
    """Guide from the second side, an empty prompt, with the negative's perpendicular part.

    The negative counts `second_cfg` times. Source: Perp-Neg (arXiv 2304.04968), equation 8.
    """

    def formula(positive: Tensor, negative: Tensor) -> Tensor:
        toward = positive - sides.second
        away = perpendicular_part(negative - sides.second, toward)
        return sides.second + guidance.cfg * (toward - guidance.second_cfg * away)

    return mix(POSITIVE, NEGATIVE, guidance.cfg, formula), sides.negative


def perpendicular_part(x: Tensor, direction: Tensor) -> Tensor:
    """Return x without its part along a direction, over the batch as one, as in ComfyUI."""
    share = (direction * x).sum() / direction.square().sum()
    return x - share.nan_to_num(0.0) * direction


STYLES: Mapping[Style, Callable[[Guidance, Sides, Mix], Guided]] = {
    "single": guide_single,
    "regular": guide_regular,
    "nested": guide_nested,
    "perpendicular": guide_perpendicular,
}


class GuidedDenoiser:
    """A model under guidance, over D in float32.

    Args:
        guidance: of a single style at cfg 1 the negative side is left out.
        source: the latent that is sampled from; see `SidesDenoiser`.
        needs_unguided: evaluate the negative side at cfg 1 too, for CFG++ samplers.
        state: patches of the network read sigma and sides of a call there.
        one_by_one: evaluate each prompt by itself, which takes less memory than batches.
        missing_is_zero: D of a missing negative side is 0, as in ComfyUI, instead of that of
            the positive one.
    """

    def __init__(
        self,
        guidance: Guidance,
        hooks: Hooks = SILENT,
        *,
        source: Latent | None = None,
        needs_unguided: bool = False,
        state: StepState | None = None,
        one_by_one: bool = False,
        missing_is_zero: bool = False,
    ) -> None:
        self.guidance, self.model = guidance, guidance.model
        self._state = state or StepState(self.model.sampling)
        self._patches = [patch for patch in self.model.patches if isinstance(patch, GuidancePatch)]
        is_single = guidance.style == "single"
        needs_negative = needs_unguided or any(patch.needs_negative for patch in self._patches)
        is_unguided = math.isclose(guidance.cfg, 1.0) and not needs_negative
        self._is_positive_only = is_single and (is_unguided or not guidance.negative)
        self._zero_unguided = is_single and not guidance.negative and missing_is_zero
        negative = () if self._is_positive_only else guidance.negative
        self._denoise_sides = SidesDenoiser(
            self.model,
            (guidance.positive, share_controls(guidance.positive, negative), guidance.second),
            hooks=hooks,
            source=source,
            state=self._state,
            one_by_one=one_by_one,
        )

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Return D under guidance; see `pair`."""
        return self.pair(x, sigma)[0]

    def pair(self, x: Tensor, sigma: Tensor) -> Guided:
        """Return D under guidance, and D of the side that it is guided away from.

        Args:
            x: B×C×h×w with noise of standard deviation sigma.
            sigma: 0-dim float32.
        """
        sides = self._denoise_sides(x, sigma)
        if self._is_positive_only:
            sides = sides._replace(negative=sides.positive)
        mix = partial(self._mix, x, sigma, sides)
        guided, unguided = STYLES[self.guidance.style](self.guidance, sides, mix)
        return guided, torch.zeros_like(unguided) if self._zero_unguided else unguided

    def check(self) -> None:
        """Check the networks beside the model; see `SidesDenoiser.check`."""
        self._denoise_sides.check()

    def _mix(
        self,
        x: Tensor,
        sigma: Tensor,
        sides: Sides,
        toward: int,
        away: int,
        cfg: float | Tensor,
        formula: Formula | None = None,
    ) -> Tensor:
        """Mix two sides by a formula, else by the last patch with a mix, else by cfg."""
        positive, negative = sides[toward], sides[away]
        if not self._patches:
            if formula is not None:
                return formula(positive, negative)
            return positive if positive is negative else negative + (positive - negative) * cfg

        def denoise(other_x: Tensor, side: int) -> Tensor:
            index = (toward, away)[side]
            return self._denoise_sides(other_x, sigma, (index,))[index]

        step = GuidanceStep(
            x=x,
            sigma=sigma,
            positive=positive,
            negative=negative,
            cfg=float(cfg),
            denoise=denoise,
            network=self.model.weights.module,
            state=self._state,
        )
        for patch in self._patches:
            positive, negative = patch.pre_cfg(step)
            step = replace(step, positive=positive, negative=negative)
        guided = self._mix_by_patches(step) if formula is None else formula(positive, negative)
        for patch in self._patches:
            guided = patch.post_cfg(step, guided)
        return guided

    def _mix_by_patches(self, step: GuidanceStep) -> Tensor:
        guided = step.negative + (step.positive - step.negative) * step.cfg
        for patch in self._patches:
            mixed = patch.mix(step)
            guided = guided if mixed is None else mixed
        return guided
