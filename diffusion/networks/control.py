"""ControlNets: an image that guides sampling, through a copy of the network's first half."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..families.family import Family
from ..images.resize import resize
from ..schedules.model_sampling import ModelSampling
from .handles import ControlResiduals, NetworkHandle, UNetInputs, Weights, make_added_kwargs
from .residency import residency
from .tiled_model import TileWindow

# What a net for several kinds of images can be told, by its place in the net's table.
UNION_KINDS = {
    "auto": -1,
    "openpose": 0,
    "depth": 1,
    "hed/pidi/scribble/ted": 2,
    "canny/lineart/anime_lineart/mlsd": 3,
    "normal": 4,
    "segment": 5,
    "tile": 6,
    "repaint": 7,
}
ANY_KIND = UNION_KINDS["auto"]


class ControlWeights(Weights):
    """A ControlNet's network. Source: arXiv 2302.05543."""

    def residuals(
        self,
        inputs: UNetInputs,
        hint: Tensor,
        strength: float,
        kind: int = ANY_KIND,  # noqa: ARG002 - of nets that take several
    ) -> ControlResiduals:
        """What the net adds, times `strength`.

        Args:
            inputs: what the denoising network is asked with.
            hint: B×3×H×W in 0..1, H and W those of the image.
            kind: of the hint, for nets that take several; see UNION_KINDS.
        """
        dtype = self.dtype
        skips, middle = self.module(
            inputs.x.to(dtype),
            inputs.timestep,
            inputs.context.to(dtype),
            hint.to(dtype),
            conditioning_scale=strength,
            return_dict=False,
            **make_added_kwargs(inputs.added, dtype),
        )
        return ControlResiduals(tuple(skips), middle)


class UnionWeights(ControlWeights):
    """A ControlNet for several kinds of images, as diffusers' ControlNetUnionModel has it."""

    @property
    def kinds(self) -> int:
        """How many kinds it knows."""
        config: Any = self.module.config
        return int(config["num_control_type"])

    def residuals(
        self, inputs: UNetInputs, hint: Tensor, strength: float, kind: int = ANY_KIND
    ) -> ControlResiduals:
        """What the net adds; without a kind the hint is read as an ordinary net reads it."""
        dtype, module = self.dtype, self.module
        chosen = torch.zeros(len(inputs.x), self.kinds, device=inputs.x.device, dtype=dtype)
        chosen[:, max(kind, 0)] = float(kind != ANY_KIND)
        hint, hooks = hint.to(dtype), ExitStack()
        if kind == ANY_KIND:
            read: Tensor = module.get_submodule("controlnet_cond_embedding")(hint)
            first = module.get_submodule("conv_in")
            hooks.callback(first.register_forward_hook(lambda *found: found[2] + read).remove)
        with hooks:
            skips, middle = module(
                inputs.x.to(dtype),
                inputs.timestep,
                inputs.context.to(dtype),
                [] if kind == ANY_KIND else [hint],
                control_type=chosen,
                control_type_idx=[] if kind == ANY_KIND else [kind],
                return_dict=False,
                **make_added_kwargs(inputs.added, dtype),
            )
        return ControlResiduals(tuple(skip * strength for skip in skips), middle * strength)


@dataclass(frozen=True, eq=False)
class ControlNet(NetworkHandle):
    """A ControlNet as it travels on edges.

    Attributes:
        kind: of the images that it is given, where it takes several; see UNION_KINDS.
    """

    weights: ControlWeights
    family: Family
    kind: int = ANY_KIND


@dataclass(frozen=True, eq=False)
class Control:
    """A ControlNet with its image, as a conditioning carries it.

    Attributes:
        hint: B×H×W×3 in 0..1; resized to the image that is sampled.
        strength: what its outputs are multiplied with.
        start, end: shares of the way from noise (0) to image (1) between which it acts.
        both_sides: the negative side is controlled too if it has no control of its own.
    """

    net: ControlNet
    hint: Tensor
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    both_sides: bool = False


class ControlRunner:
    """The controls of a run: when each acts, and its hint, resized once per size."""

    def __init__(self, sampling: ModelSampling) -> None:
        self._sampling = sampling
        self._hints: dict[tuple[int, int, int], tuple[Control, Tensor]] = {}

    def residuals(
        self,
        controls: Sequence[Control],
        sigma: float,
        inputs: UNetInputs,
        count: int,
        window: TileWindow | None = None,
    ) -> ControlResiduals | None:
        """The sum of what the controls add that act at this level; None if none does.

        Args:
            inputs: what the denoising network is asked with.
            count: how often the batch lies in x, one behind the other.
            window: where x lies in the whole that hints are for; None where it is the whole.
        """
        total: ControlResiduals | None = None
        for control in controls:
            if self._acts(control, sigma):
                hint = self._hint(control, inputs.x, count, window)
                net = control.net
                with residency().use(net.weights):
                    one = net.weights.residuals(inputs, hint, control.strength, net.kind)
                total = one if total is None else _sum(total, one)
        return total

    def _acts(self, control: Control, sigma: float) -> bool:
        high, low = (self._sampling.percent_to_sigma(at) for at in (control.start, control.end))
        return low <= sigma <= high

    def _hint(self, control: Control, x: Tensor, count: int, window: TileWindow | None) -> Tensor:
        """B×3×H×W: cut to the aspect of the whole, resized unsmoothed, repeated over x's batch."""
        factor = control.net.family.vae_factor
        rows, columns = (x.shape[-2], x.shape[-1]) if window is None else window.whole
        width, height = columns * factor, rows * factor
        key = (id(control), width, height)
        if key not in self._hints:
            pixels = control.hint[..., :3].movedim(-1, 1).float()
            resized = resize(pixels, width, height, "nearest-exact", "center")
            self._hints[key] = (control, resized.to(x.device))
        hint, batch = self._hints[key][1], len(x) // count
        if window is not None:
            place = TileWindow(window.top * factor, window.left * factor, (height, width))
            hint = place.of(hint, x.shape[-2] * factor, x.shape[-1] * factor)
        repeats = -(-batch // len(hint))
        return hint.repeat(repeats, 1, 1, 1)[:batch].repeat(count, 1, 1, 1)


def _sum(one: ControlResiduals, other: ControlResiduals) -> ControlResiduals:
    skips = tuple(left + right for left, right in zip(one.skips, other.skips, strict=True))
    return ControlResiduals(skips, one.middle + other.middle)
