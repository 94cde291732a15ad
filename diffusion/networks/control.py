"""ControlNets: images that guide sampling, through a copy of the UNet's first half."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SamplingError
from ..families.added import AddedConditioning, make_added_kwargs
from ..families.family import ControlArchitecture, Family, Residuals
from ..families.unet import ControlResiduals
from ..images.resize import resize
from ..schedules.model_sampling import ModelSampling
from .finite import non_finite
from .handles import NetworkHandle, Vae
from .tiled_model import TileWindow
from .vae import encode
from .weights import UNetInputs, Weights

# The kinds of hints that a union ControlNet takes, with their indices.
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
    """A ControlNet's network. Source: arXiv 2302.05543.

    Attributes:
        reads_latents: its hint is the latent of the image.
    """

    reads_latents = False

    @property
    def kind_count(self) -> int | None:
        """The number of kinds that a union takes; None for other ControlNets."""
        return None

    def predict(
        self,
        inputs: UNetInputs,
        hint: Tensor,
        strength: float,
        kind: int = ANY_KIND,  # noqa: ARG002 - for UnionWeights
    ) -> Residuals:
        """Return the residuals for the UNet, times `strength`.

        Args:
            inputs: the UNet's own.
            hint: B×3×H×W in 0..1, H and W those of the image.
            kind: of the hint, for union ControlNets; see UNION_KINDS.
        """
        dtype, use = self.dtype, self._in_use
        context, hint = inputs.context.to(dtype), hint.to(dtype)
        if use is not None and use.calls.is_untouched:
            context, hint = use.calls.project(context), use.calls.embed_hint(hint)
        changing = (inputs.x.to(dtype).contiguous(), inputs.timestep)
        residuals = self._call("control", self._compute, changing, (context, hint, inputs.added))
        *skips, middle = torch._foreach_mul(list(residuals), strength)
        return ControlResiduals(tuple(skips), middle)

    def _compute(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        hint: Tensor,
        added: AddedConditioning | None,
    ) -> tuple[Tensor, ...]:
        options = make_added_kwargs(added, x.dtype)
        skips, middle = self.module(x, timestep, context, hint, return_dict=False, **options)
        return (*skips, middle)


class UnionWeights(ControlWeights):
    """A union ControlNet, for several kinds of hints: diffusers' ControlNetUnionModel."""

    @property
    def kind_count(self) -> int:
        """The number of kinds that the network takes."""
        config: Any = self.module.config
        return int(config["num_control_type"])

    def predict(
        self, inputs: UNetInputs, hint: Tensor, strength: float, kind: int = ANY_KIND
    ) -> Residuals:
        """Return the residuals; without a kind the hint is read as a plain ControlNet reads it."""
        dtype, module = self.dtype, self.module
        chosen = torch.zeros(len(inputs.x), self.kind_count, device=inputs.x.device, dtype=dtype)
        chosen[:, max(kind, 0)] = float(kind != ANY_KIND)
        hint, hooks = hint.to(dtype), ExitStack()
        if kind == ANY_KIND:
            embedded: Tensor = module.get_submodule("controlnet_cond_embedding")(hint)

            def add_hint(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
                return output + embedded

            first = module.get_submodule("conv_in")
            hooks.callback(first.register_forward_hook(add_hint).remove)
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


class LatentControlWeights(ControlWeights):
    """A ControlNet that reads the latent of its image."""

    reads_latents = True

    def __init__(self, module: nn.Module, digest: str, architecture: ControlArchitecture) -> None:
        super().__init__(module, digest)
        self._predict = architecture.predict

    @property
    def kind_count(self) -> int | None:
        """The number of kinds that a union takes; None for other ControlNets."""
        config: Any = self.module.config
        count: int | None = getattr(config, "num_mode", None)
        return count

    def predict(
        self, inputs: UNetInputs, hint: Tensor, strength: float, kind: int = ANY_KIND
    ) -> Residuals:
        """Return the residuals, times `strength`; the hint is a latent like x."""
        dtype, (x, timestep, context, added) = self.dtype, inputs
        hint = hint.to(dtype)
        residuals = self._predict(
            self.module, x.to(dtype), timestep, context.to(dtype), added, hint, kind
        )
        scaled: Residuals = type(residuals)(
            *(tuple(one * strength for one in part) for part in residuals)
        )
        return scaled


@dataclass(frozen=True, eq=False)
class ControlNet(NetworkHandle):
    """A ControlNet as it travels on edges.

    Attributes:
        kind: of its hints, for union ControlNets; see UNION_KINDS.
    """

    weights: ControlWeights
    family: Family
    kind: int = ANY_KIND


@dataclass(frozen=True, eq=False)
class Control:
    """A ControlNet with its hint, as conditioning carries it.

    Attributes:
        hint: image B×H×W×3 in 0..1, resized to the sampled image.
        strength: factor of the residuals.
        start, end: shares of the schedule between which it acts; 0 is noise, 1 is the image.
        both_sides: control a negative side that has no control of its own.
        vae: encodes the hint for a ControlNet that reads latents.
    """

    net: ControlNet
    hint: Tensor
    _: KW_ONLY
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    both_sides: bool = False
    vae: Vae | None = None


class ControlRunner:
    """Evaluates the controls of a run; a hint is resized once per size."""

    def __init__(self, sampling: ModelSampling) -> None:
        self._sampling = sampling
        # By control, size and window; a control stays alive with its hint.
        self._hints: dict[tuple[object, ...], tuple[Control, Tensor]] = {}
        self._overflowed: Tensor | None = None

    def sum_residuals(
        self,
        controls: Sequence[Control],
        sigma: float,
        inputs: UNetInputs,
        count: int,
        window: TileWindow | None = None,
    ) -> Residuals | None:
        """Return the sum of the residuals of the controls active at `sigma`; None if none is.

        Args:
            inputs: the UNet's own.
            count: how many copies of the batch x holds, one after another.
            window: the tile that x is, where the latent is sampled in tiles.
        """
        total: Residuals | None = None
        for control in controls:
            if self._is_active(control, sigma):
                hint = self._hint(control, inputs.x, count, window)
                net = control.net
                with net.weights.use():
                    added = net.weights.predict(inputs, hint, control.strength, net.kind)
                self._note_overflow(inputs.x, added)
                total = added if total is None else total.plus(added)
        return total

    def _is_active(self, control: Control, sigma: float) -> bool:
        high, low = (
            self._sampling.percent_to_sigma(share) for share in (control.start, control.end)
        )
        return low <= sigma <= high

    def _hint(self, control: Control, x: Tensor, count: int, window: TileWindow | None) -> Tensor:
        """Return the hint B×3×H×W: cut to the latent's aspect, resized, repeated over x's batch."""
        factor = control.net.family.vae_factor
        rows, columns = (x.shape[-2], x.shape[-1]) if window is None else window.full_size
        width, height = columns * factor, rows * factor
        batch = len(x) // count
        key = (id(control), width, height, window, batch, count, x.shape[-2:])
        if key not in self._hints:
            pixels = control.hint[..., :3].movedim(-1, 1).float()
            hint = resize(pixels, width, height, "nearest-exact", "center").to(x.device)
            if control.net.weights.reads_latents:
                hint, factor = _encode_hint(control, hint), 1
            if window is not None:
                full_size = (hint.shape[-2], hint.shape[-1])
                window_px = TileWindow(window.top * factor, window.left * factor, full_size)
                hint = window_px.crop(hint, x.shape[-2] * factor, x.shape[-1] * factor)
            repeats = -(-batch // len(hint))
            hint = hint.repeat(repeats, 1, 1, 1)[:batch].repeat(count, 1, 1, 1)
            self._hints[key] = (control, hint.to(control.net.weights.dtype))
        return self._hints[key][1]

    def _note_overflow(self, x: Tensor, residuals: Residuals) -> None:
        """Note on the device, without waiting for it, if finite inputs gave NaN or infinity."""
        sums = [part.sum(dtype=torch.float32) for part in residuals.tensors()]
        overflowed = ~torch.stack(sums).isfinite().all() & x.isfinite().all()
        before = self._overflowed
        self._overflowed = overflowed if before is None else before | overflowed

    def check(self) -> None:
        """Check the residuals so far; this waits for the device.

        Raises:
            NonFiniteError: there was NaN or infinity in them.
        """
        if self._overflowed is not None and bool(self._overflowed):
            raise non_finite("the ControlNet")


def _encode_hint(control: Control, hint: Tensor) -> Tensor:
    """Return the latent of a hint B×3×H×W, as its network reads it.

    Raises:
        SamplingError: there is no VAE to encode it with.
    """
    if control.vae is None:
        raise SamplingError(
            "the ControlNet reads the latent of its image: expected a VAE, got none; connect the "
            "VAE to ControlNetApplyAdvanced"
        )
    latent = encode(control.vae, hint.movedim(1, -1).cpu())
    return control.net.family.to_model(latent.samples).to(hint.device)
