"""`denoise(x, sigma)` of a model under two conditionings: batching, weighting, guidance."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..conditioning.added import added_inputs
from ..conditioning.conditioning import Conditioning, PromptEntry, share_controls
from ..conditioning.editing import image_channels
from ..conditioning.fitting import FittedEntry, fit_entries
from ..conditioning.inpaint import inpaint_channels
from ..latents.latents import Latent
from ..networks.control import ControlRunner
from ..networks.handles import AddedConditioning, Model, UNetInputs
from ..networks.patch import GuidancePatch, GuidanceStep, StepState
from ..networks.tiled_model import TileWindow, find_tiling
from .hooks import SILENT, Hooks

# Keeps a side without any active entry at 0 instead of NaN.
TINY = 1e-37
# Token lengths are brought to their least common multiple by repeating, up to this factor;
# repeating keys and values leaves softmax attention as it is.
MAX_REPEATS = 4
POSITIVE, NEGATIVE, SECOND = SIDES = range(3)


Style = Literal["single", "regular", "nested", "perpendicular"]


@dataclass(frozen=True, eq=False)
class Guidance:
    """What a model is asked, and how its answers are mixed; it travels on edges.

    Attributes:
        positive, negative: without a negative side, D of the positive one is all.
        cfg: classifier-free guidance (arXiv 2207.12598) of the positive side against the
            negative one; with a second prompt, against that.
        second: a prompt between the two, as InstructPix2Pix (arXiv 2211.09800) guides.
        second_cfg: guidance of the second prompt against the negative side.
        style: how two prompts are mixed: `regular` adds both guidances, `nested` guides by the
            result of the first, `perpendicular` takes the second for an empty one and keeps of
            the negative, times `second_cfg`, what does not lie along the positive.
    """

    model: Model
    positive: Conditioning
    negative: Conditioning = ()
    cfg: float = 1.0
    second: Conditioning = ()
    second_cfg: float = 1.0
    style: Style = "single"


class _Told(NamedTuple):
    """What a network is told of a group of prompts at every level, on its device.

    Attributes:
        beside: what an inpainting or editing model sees beside the noisy latent.
    """

    context: Tensor
    added: AddedConditioning | None
    beside: Tensor | None


class Guide:
    """A model under guidance, over D in float32; all sides in one batch where tokens allow.

    Args:
        guidance: at cfg 1 the negative side is left out.
        source: the latent that is sampled from, for inpainting models that are told no hole.
        both: evaluate the negative side at cfg 1 too, for samplers that need it.
        moment: where patches of the network read the level of a call.

    Attributes:
        apart: evaluate each entry by itself, which takes less memory.
        missing_is_zero: D of a negative side that is not there is 0, as in ComfyUI, instead of
            that of the positive one.
    """

    def __init__(
        self,
        guidance: Guidance,
        hooks: Hooks = SILENT,
        source: Latent | None = None,
        both: bool = False,
        state: StepState | None = None,
    ) -> None:
        self.guidance, self.model, self.hooks = guidance, guidance.model, hooks
        self.source, self.apart, self.missing_is_zero = source, False, False
        self.controls = ControlRunner(self.model.sampling)
        self.tiling = find_tiling(self.model.patches)
        self.state = state or StepState(self.model.sampling)
        self.patches = [each for each in self.model.patches if isinstance(each, GuidancePatch)]
        both |= any(patch.needs_negative for patch in self.patches)
        single = guidance.style == "single"
        self.alone = single and math.isclose(guidance.cfg, 1.0) and not both
        self.alone |= single and not guidance.negative
        negative = share_controls(guidance.positive, guidance.negative)
        self.entries = (guidance.positive, () if self.alone else negative, guidance.second)
        self._placed: dict[tuple[int, ...], list[FittedEntry]] = {}
        # By the parts of a group, which `_placed` keeps.
        self._known: dict[tuple[int, ...], _Told] = {}

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """D under guidance at one level; see `pair`."""
        return self.pair(x, sigma)[0]

    def pair(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """D under guidance, and D of the side that it is guided away from.

        Args:
            x: B×C×h×w at level sigma.
            sigma: a 0-dim float32 level.
        """
        found = self._sides(x, sigma)
        positive, negative, second = found
        if self.alone:
            negative = found[NEGATIVE] = positive
        cfg, second_cfg = self.guidance.cfg, self.guidance.second_cfg
        if self.guidance.style == "regular":
            guided = self._mix(x, sigma, found, (SECOND, NEGATIVE), second_cfg)
            return guided + (positive - second) * cfg, negative
        if self.guidance.style == "nested":
            inner = self._mix(x, sigma, found, (POSITIVE, SECOND), cfg)
            return negative + (inner - negative) * second_cfg, second
        if self.guidance.style == "single":
            away = not self.guidance.negative and self.missing_is_zero
            guided = self._mix(x, sigma, found, (POSITIVE, NEGATIVE), cfg)
            return guided, torch.zeros_like(negative) if away else negative

        def perpendicular(positive: Tensor, negative: Tensor) -> Tensor:
            kept = _perpendicular(positive - second, negative - second, second_cfg)
            return second + cfg * kept

        guided = self._mix(x, sigma, found, (POSITIVE, NEGATIVE), cfg, perpendicular)
        return guided, negative

    def _mix(
        self,
        x: Tensor,
        sigma: Tensor,
        found: Sequence[Tensor],
        between: tuple[int, int],
        cfg: float,
        mixed: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Guidance from one side past another, as patches have it.

        Args:
            found: D of each side.
            between: the side that is gone to, and the one that is gone away from.
            mixed: of these two, instead of guidance and of the patches that have a mix.
        """
        positive, negative = (found[side] for side in between)
        if not self.patches:
            if mixed is not None:
                return mixed(positive, negative)
            return positive if self.alone else negative + (positive - negative) * cfg

        def ask(other: Tensor, side: int) -> Tensor:
            return self._sides(other, sigma, (between[side],))[between[side]]

        step = GuidanceStep(
            x=x,
            sigma=sigma,
            positive=positive,
            negative=negative,
            cfg=cfg,
            denoise=ask,
            network=self.model.weights.module,
            state=self.state,
        )
        for patch in self.patches:
            positive, negative = patch.pre_cfg(step)
            step = replace(step, positive=positive, negative=negative)
        if mixed is not None:
            guided = mixed(positive, negative)
        else:
            guided = negative + (positive - negative) * cfg
            for patch in self.patches:
                other = patch.mix(step)
                guided = guided if other is None else other
        for patch in self.patches:
            guided = patch.post_cfg(step, guided)
        return guided

    def _sides(self, x: Tensor, sigma: Tensor, sides: Sequence[int] = SIDES) -> list[Tensor]:
        """D of the positive, the negative and the second side; 0 where nothing is active."""
        level = float(sigma)
        active = [
            part for part in self._parts(x) if part.side in sides and part.low <= level <= part.high
        ]
        sums = [torch.zeros_like(x) for _ in SIDES]
        weights = [torch.full_like(x, TINY) for _ in SIDES]
        for group in [[part] for part in active] if self.apart else _groups(active):
            for part, denoised in zip(group, self._evaluate(x, sigma, group), strict=True):
                part.box.of(sums[part.side]).add_(denoised * part.weight)
                part.box.of(weights[part.side]).add_(part.weight)
        return [total / weight for total, weight in zip(sums, weights, strict=True)]

    def _parts(self, x: Tensor) -> list[FittedEntry]:
        """The entries on a latent of this shape."""
        shape = tuple(x.shape)
        if shape not in self._placed:
            self._placed[shape] = fit_entries(self.entries, x, self.model.sampling)
        return self._placed[shape]

    def _evaluate(self, x: Tensor, sigma: Tensor, group: Sequence[FittedEntry]) -> Iterator[Tensor]:
        """D of each part of a group, from one evaluation of the network, or one for each tile."""
        self.state.begin_call(float(sigma), tuple(part.side for part in group))
        sampling, count = self.model.sampling, len(group)
        told = self._told(x, group)
        windows = [part.box.of(x) for part in group]
        scaled = sampling.scale_input(torch.cat(windows), sigma)
        # Filled in rather than copied: nothing waits for the device.
        timestep = x.new_full((len(scaled),), float(sampling.timestep(sigma)))
        inputs = UNetInputs(scaled, timestep, told.context, told.added)
        controls = group[0].entry.controls

        def answer(widened: Tensor, window: TileWindow | None = None) -> Tensor:
            self.hooks.on_call()
            seen = scaled if window is None else window.crop(scaled, *widened.shape[-2:])
            own = inputs._replace(x=seen)
            control = self.controls.residuals(controls, float(sigma), own, count, window)
            return self.model.weights.predict(widened, *inputs[1:], control)

        widened = scaled if told.beside is None else torch.cat([scaled, told.beside], dim=1)
        output = answer(widened) if self.tiling is None else self.tiling.predict(answer, widened)
        for seen, piece in zip(windows, output.chunk(count), strict=True):
            yield sampling.calculate_denoised(seen, sigma, piece)

    def _told(self, x: Tensor, group: Sequence[FittedEntry]) -> _Told:
        """What does not change from level to level; brought to the device once."""
        key = tuple(map(id, group))
        if key not in self._known:
            entries, family = [part.entry for part in group], self.model.family
            length = math.lcm(*(entry.tokens.shape[1] for entry in entries))
            context = torch.cat([_tokens(entry, length, len(x)) for entry in entries])
            added = added_inputs(family, x, entries, [part.side for part in group])
            beside = None
            if family.in_channels != x.shape[1]:
                beside = torch.cat([part.box.of(self._beside(x, part.entry)) for part in group])
            self._known[key] = _Told(context.to(x.device), added, beside)
        return self._known[key]

    def _beside(self, x: Tensor, entry: PromptEntry) -> Tensor:
        if self.model.family.is_edit_model:
            return image_channels(x, entry.image, entry.inpaint)
        return inpaint_channels(x, entry.inpaint, self.source, self.model.family)


def _perpendicular(toward: Tensor, away: Tensor, scale: float) -> Tensor:
    """Perp-Neg (arXiv 2304.04968), equation 8, over the batch as one, as in ComfyUI."""
    along = (toward * away).sum() / toward.square().sum()
    return toward - scale * (away - along.nan_to_num(0.0) * toward)


def _groups(parts: Sequence[FittedEntry]) -> list[list[FittedEntry]]:
    """Parts that can be evaluated together: same controls, size and about as many tokens."""
    groups: list[list[FittedEntry]] = []
    for part in parts:
        for group in groups:
            lengths = [member.entry.tokens.shape[1] for member in (*group, part)]
            alike = part.entry.controls == group[0].entry.controls
            alike &= part.box[:2] == group[0].box[:2]
            if alike and math.lcm(*lengths) <= MAX_REPEATS * min(lengths):
                group.append(part)
                break
        else:
            groups.append([part])
    return groups


def _tokens(entry: PromptEntry, length: int, batch: int) -> Tensor:
    """An entry's tokens, repeated to this length and batch."""
    tokens = entry.tokens.repeat(1, length // entry.tokens.shape[1], 1)
    return tokens.repeat(-(-batch // len(tokens)), 1, 1)[:batch]
