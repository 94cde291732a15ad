"""D of each side of a guidance: entries in batches, on windows of the latent, by weight."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..conditioning.conditioning import Conditioning, PromptEntry
from ..conditioning.fitting import FittedEntry, fit_entries
from ..families.family import Architecture
from ..latents.latents import Latent
from ..networks.control import ControlRunner
from ..networks.handles import Model
from ..networks.patch import StepState
from ..networks.tiled_model import TileWindow, find_tiling
from ..networks.weights import UNetInputs
from .hooks import Hooks

# Keeps a side without any active entry at 0 instead of NaN.
TINY = 1e-37
# Token lengths are brought to their least common multiple by repeating, up to this factor;
# repeating keys and values leaves softmax attention unchanged.
MAX_REPEATS = 4
POSITIVE, NEGATIVE, SECOND = ALL_SIDES = range(3)


class Sides(NamedTuple):
    """D of each side, B×C×h×w; 0 where a side has no active entry."""

    positive: Tensor
    negative: Tensor
    second: Tensor


class GroupInputs(NamedTuple):
    """The network's inputs for a group of entries that are the same at every sigma.

    Attributes:
        context: the tokens, on the device.
        added: extra conditioning, from the architecture's `gather`.
        concat: extra input channels of an inpainting or editing model.
    """

    context: Tensor
    added: Any
    concat: Tensor | None


class SidesDenoiser:
    """The model without guidance: `(x, sigma)` to D of each side, in float32.

    Args:
        conditionings: of the positive, the negative and the second side.
        source: the latent that is sampled from, for inpainting models whose conditioning has no
            inpaint mask.
        state: patches of the network read sigma and sides of a call there.
        one_by_one: evaluate each entry by itself, which takes less memory than batches.
    """

    def __init__(
        self,
        model: Model,
        conditionings: Sequence[Conditioning],
        *,
        hooks: Hooks,
        source: Latent | None,
        state: StepState,
        one_by_one: bool,
    ) -> None:
        self._model, self._conditionings = model, conditionings
        self._hooks, self._source, self._state = hooks, source, state
        self._one_by_one = one_by_one
        self._controls = ControlRunner(model.sampling)
        self._tiling = find_tiling(model.patches)
        self._fitted: dict[tuple[int, ...], list[FittedEntry]] = {}
        # By the ids of a group's entries, which `_fitted` keeps alive.
        self._inputs: dict[tuple[int, ...], GroupInputs] = {}

    def __call__(self, x: Tensor, sigma: Tensor, sides: Sequence[int] = ALL_SIDES) -> Sides:
        """Return D of these sides; the others are 0."""
        at = float(sigma)
        active = [
            fitted
            for fitted in self._fit(x)
            if fitted.side in sides and fitted.sigma_end <= at <= fitted.sigma_start
        ]
        sums = [torch.zeros_like(x) for _ in ALL_SIDES]
        weights = [torch.full_like(x, TINY) for _ in ALL_SIDES]
        architecture = self._model.family.architecture
        is_single = self._one_by_one
        groups = [[one] for one in active] if is_single else _group(architecture, active)
        for group in groups:
            for fitted, denoised in zip(group, self._evaluate(x, sigma, group), strict=True):
                fitted.box.crop(sums[fitted.side]).add_(denoised * fitted.weight)
                fitted.box.crop(weights[fitted.side]).add_(fitted.weight)
        return Sides(*(total / weight for total, weight in zip(sums, weights, strict=True)))

    def check(self) -> None:
        """Check what the ControlNets returned; this waits for the device.

        Raises:
            NonFiniteError: there was NaN or infinity in it.
        """
        self._controls.check()

    def _fit(self, x: Tensor) -> list[FittedEntry]:
        shape = tuple(x.shape)
        if shape not in self._fitted:
            self._fitted[shape] = fit_entries(self._conditionings, x, self._model.sampling)
        return self._fitted[shape]

    def _evaluate(self, x: Tensor, sigma: Tensor, group: Sequence[FittedEntry]) -> Iterator[Tensor]:
        """Yield D of each entry, from one evaluation of the network, or one for each tile."""
        self._state.begin_call(float(sigma), tuple(fitted.side for fitted in group))
        sampling, count = self._model.sampling, len(group)
        constant = self._group_inputs(x, group)
        windows = [fitted.box.crop(x) for fitted in group]
        scaled = sampling.scale_input(torch.cat(windows), sigma)
        # Filled in rather than copied: nothing waits for the device.
        timestep = x.new_full((len(scaled),), float(sampling.timestep(sigma)))
        inputs = UNetInputs(scaled, timestep, constant.context, constant.added)
        controls = group[0].entry.controls

        def predict(network_input: Tensor, tile: TileWindow | None = None) -> Tensor:
            self._hooks.on_call()
            tile_x = scaled if tile is None else tile.crop(scaled, *network_input.shape[-2:])
            tile_inputs = inputs._replace(x=tile_x)
            control = self._controls.sum_residuals(controls, float(sigma), tile_inputs, count, tile)
            return self._model.weights.predict(network_input, *inputs[1:], control)

        joined = scaled if constant.concat is None else torch.cat([scaled, constant.concat], dim=1)
        output = predict(joined) if self._tiling is None else self._tiling.predict(predict, joined)
        for window, chunk in zip(windows, output.chunk(count), strict=True):
            yield sampling.calculate_denoised(window, sigma, chunk)

    def _group_inputs(self, x: Tensor, group: Sequence[FittedEntry]) -> GroupInputs:
        """Return the constant inputs, brought to the device once."""
        key = tuple(map(id, group))
        if key not in self._inputs:
            entries, family = [fitted.entry for fitted in group], self._model.family
            length = math.lcm(*(entry.tokens.shape[1] for entry in entries))
            context = torch.cat([_repeat_tokens(entry, length, len(x)) for entry in entries])
            network = family.architecture
            added = network.gather(family, x, entries, [fitted.side for fitted in group])
            extra = [network.concat(family, x, entry, self._source) for entry in entries]
            crops = [
                fitted.box.crop(channels)
                for fitted, channels in zip(group, extra, strict=True)
                if channels is not None
            ]
            concat = torch.cat(crops) if crops else None
            context = context.to(x.device, self._model.weights.dtype)
            self._inputs[key] = GroupInputs(context, added, concat)
        return self._inputs[key]


def _group(architecture: Architecture, entries: Sequence[FittedEntry]) -> list[list[FittedEntry]]:
    """Group entries for one evaluation each: same controls and size, about as many tokens."""
    max_repeats = MAX_REPEATS if architecture.repeats_tokens else 1
    groups: list[list[FittedEntry]] = []
    for fitted in entries:
        for group in groups:
            lengths = [member.entry.tokens.shape[1] for member in (*group, fitted)]
            is_alike = fitted.entry.controls == group[0].entry.controls
            is_alike &= fitted.box[:2] == group[0].box[:2]
            is_alike &= architecture.joins(fitted.entry, group[0].entry)
            if is_alike and math.lcm(*lengths) <= max_repeats * min(lengths):
                group.append(fitted)
                break
        else:
            groups.append([fitted])
    return groups


def _repeat_tokens(entry: PromptEntry, length: int, batch: int) -> Tensor:
    tokens = entry.tokens.repeat(1, length // entry.tokens.shape[1], 1)
    return tokens.repeat(-(-batch // len(tokens)), 1, 1)[:batch]
