"""Handles: what travels on MODEL, CLIP and VAE edges. Frozen; the weights behind them are shared.

A node that changes a model makes a new handle; nothing is done to the weights until they are used.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..families.family import Family
from ..schedules.model_sampling import ModelSampling
from ..text.tokenizers import Tokenizer
from ..weights.text_keys import TextKind
from . import devices
from .patch import StepState
from .patching import Patch, patched
from .residency import Hook, place_partly, residency


class Residuals(NamedTuple):
    """What ControlNets add in a denoising network: to each skip connection, and in its middle."""

    skips: tuple[Tensor, ...]
    middle: Tensor


class Added(NamedTuple):
    """What a network is told beside the prompt: B×d pooled encoding, B×n sizes and scores."""

    pooled: Tensor
    numbers: Tensor


class Inputs(NamedTuple):
    """What a denoising network is asked with, and a ControlNet beside it; see `predict`."""

    x: Tensor
    timestep: Tensor
    context: Tensor
    added: Added | None = None


def told(added: Added | None, dtype: torch.dtype) -> dict[str, Any]:
    """The argument of diffusers' networks for what they are told beside the prompt."""
    if added is None:
        return {}
    numbers = {"text_embeds": added.pooled.to(dtype), "time_ids": added.numbers.to(dtype)}
    return {"added_cond_kwargs": numbers}


class Weights:
    """A network on its device.

    Attributes:
        digest: of the files that it was loaded from.
        halves: patched weights are rounded to float16 where that is how they were stored.
    """

    halves = False

    def __init__(self, module: nn.Module, digest: str) -> None:
        self.digest = digest
        self.home = devices.device()
        self.reload: Callable[[], Weights] | None = None
        self.nbytes = 0
        self._module: nn.Module | None = None
        self._hooks: list[Hook] = []
        self._lock = threading.RLock()
        self._take(module)

    @property
    def module(self) -> nn.Module:
        """The network, which is read again if it was let go."""
        if self._module is None:
            residency().touch(self)
        assert self._module is not None
        return self._module

    @property
    def device(self) -> torch.device:
        """Where the network is computed with."""
        return self.home

    @property
    def dtype(self) -> torch.dtype:
        """Precision that the network computes in."""
        return next(self.module.parameters()).dtype

    @contextmanager
    def computing(
        self, patches: Sequence[Patch] = (), moment: StepState | None = None
    ) -> Iterator[None]:
        """To be entered around the network's calls, which see it patched and on its device.

        One at a time: another thread would see the patches too.
        """
        with self._lock, residency().using(self):
            on = patched(self.module, patches, self.halves, moment)
            with on, torch.inference_mode():
                yield

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory or on the device."""
        return self._module is not None

    @property
    def can_reload(self) -> bool:
        """Whether they can be let go: they come from a file."""
        return self.reload is not None

    def load(self) -> None:
        """Read the weights from their file again.

        Raises:
            ModelFileError: it is not what it was.
        """
        if self._module is None and self.reload is not None:
            self._take_from(self.reload())

    def unload(self) -> None:
        """Let the weights go."""
        self._module = None

    def place(self, room: int) -> int:
        """Put the network on its home, as much as fits into `room` bytes; what lies there then."""
        if self.nbytes <= room:
            self.module.to(self.home)
            return self.nbytes
        placed, self._hooks = place_partly(self.module, self.home, room)
        return placed

    def take_back(self) -> None:
        """Put the network into memory."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self.module.to("cpu")

    def _take(self, module: nn.Module) -> None:
        self._module = module.eval().requires_grad_(False)
        self.nbytes = sum(each.nbytes for each in module.parameters())

    def _take_from(self, other: Weights) -> None:
        self._take(other.module)


class UNetWeights(Weights):
    """A denoising network."""

    def predict(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        added: Added | None = None,
        control: Residuals | None = None,
    ) -> Tensor:
        """The raw output, float32.

        Args:
            x: B×C×h×w, scaled for the network.
            timestep: B numbers.
            context: B×n×d text encoding.
            added: what a family with `size_inputs` is told too.
            control: what ControlNets add.
        """
        dtype = self.dtype
        options = told(added, dtype)
        if control is not None:
            options["down_block_additional_residuals"] = [one.to(dtype) for one in control.skips]
            options["mid_block_additional_residual"] = control.middle.to(dtype)
        context = context.to(dtype)
        result = self.module(x.to(dtype), timestep, context, return_dict=False, **options)
        output: Tensor = result[0]
        return output.float()


@dataclass(frozen=True, eq=False)
class TextPart:
    """One text encoder.

    Attributes:
        kind: l, h or g; the name of its network where there are several.
        layer: the layer that its encoding is taken from, counted from the end.
        final_norm: an encoding from an earlier layer passes the final norm too.
        dropped: layers at the end that no encoding is taken from and that the file leaves out.
    """

    kind: TextKind
    module: nn.Module
    tokenizer: Tokenizer
    layer: int = -1
    final_norm: bool = True
    dropped: int = 0


class TextWeights(Weights):
    """Text encoders that a model is asked with together, and their tokenizers.

    ComfyUI computes them in float32 and stores them as they were.
    """

    halves = True

    def __init__(self, parts: Sequence[TextPart], digest: str) -> None:
        several = nn.ModuleDict({part.kind: part.module for part in parts})
        super().__init__(parts[0].module if len(parts) == 1 else several, digest)
        self._parts = tuple(parts)

    @property
    def parts(self) -> tuple[TextPart, ...]:
        """The encoders, in the order in which their encodings lie side by side."""
        if self._module is None:
            residency().touch(self)
        return self._parts

    @property
    def tokenizer(self) -> Tokenizer:
        """The first encoder's; the others differ in their marks only."""
        return self.parts[0].tokenizer

    def unload(self) -> None:
        """Let the weights go."""
        super().unload()
        self._parts = ()

    def _take_from(self, other: Weights) -> None:
        super()._take_from(other)
        assert isinstance(other, TextWeights)
        self._parts = other.parts


class VaeWeights(Weights):
    """An autoencoder."""

    def mean(self, pixels: Tensor) -> Tensor:
        """Unscaled latents of images B×C×H×W in -1..1: the mean of the posterior."""
        found: Tensor = self.module.encode(pixels).latent_dist.mean  # type: ignore[operator]
        return found

    def image(self, samples: Tensor) -> Tensor:
        """Images B×C×H×W, about -1..1, of unscaled latents."""
        found: Tensor = self.module.decode(samples, return_dict=False)[0]  # type: ignore[operator]
        return found


class TinyVaeWeights(VaeWeights):
    """TAESD, which writes and reads latents at the scale that sampling has them at."""

    def __init__(self, module: nn.Module, digest: str, family: Family) -> None:
        super().__init__(module, digest)
        self.family = family

    def mean(self, pixels: Tensor) -> Tensor:
        """Unscaled latents of images B×C×H×W in -1..1."""
        found: Tensor = self.module.encode(pixels).latents  # type: ignore[operator]
        return self.family.to_vae(found)

    def image(self, samples: Tensor) -> Tensor:
        """Images B×C×H×W, about -1..1, of unscaled latents."""
        return super().image(self.family.to_model(samples))


@dataclass(frozen=True, eq=False)
class Handle:
    """A network as it travels on edges, with what is said and changed of it."""

    weights: Weights

    @property
    def fingerprint(self) -> str:
        """Tells two handles apart that may give different results."""
        own = (getattr(self, each.name) for each in fields(self) if each.name != "weights")
        parts = [type(self).__name__, self.weights.digest, *map(_told_apart, own)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def nbytes(self) -> int:
        """Of itself; its weights are residency's to keep or to let go."""
        return 0


def _told_apart(value: object) -> str:
    """Patches by what they say of themselves, all else by how it is written."""
    if isinstance(value, tuple):
        return "\0".join(patch.fingerprint for patch in value)
    return repr(value)


@dataclass(frozen=True, eq=False)
class Model(Handle):
    """A denoising network, how its noise levels are laid out, and what is changed in it."""

    weights: UNetWeights
    family: Family
    sampling: ModelSampling
    patches: tuple[Patch, ...] = ()


@dataclass(frozen=True, eq=False)
class Clip(Handle):
    """Text encoders; `layer` counts from their ends, -1 being the last, None each one's own."""

    weights: TextWeights
    family: Family
    layer: int | None = None
    patches: tuple[Patch, ...] = ()


@dataclass(frozen=True, eq=False)
class Vae(Handle):
    """An autoencoder."""

    weights: VaeWeights
    family: Family
