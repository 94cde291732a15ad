"""Handles: what travels on MODEL, CLIP and VAE edges. Frozen; the weights behind them are shared.

A node that changes a model makes a new handle; nothing is done to the weights until they are used.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from . import devices
from .families import Family
from .model_sampling import ModelSampling
from .patches.base import Moment
from .patching import Patch, patched
from .text_keys import TextKind
from .tokenizers import Tokenizer


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
        self.module = module.eval().requires_grad_(False)
        self.digest = digest
        self._lock = threading.RLock()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision that the network computes in."""
        return next(self.module.parameters()).dtype

    @property
    def nbytes(self) -> int:
        """Memory that the weights take."""
        return sum(each.nbytes for each in self.module.parameters())

    @contextmanager
    def computing(
        self, patches: Sequence[Patch] = (), moment: Moment | None = None
    ) -> Iterator[None]:
        """To be entered around the network's calls, which see it patched.

        One at a time: another thread would see the patches too.
        """
        on = patched(self.module, patches, self.halves, moment)
        with self._lock, on, devices.computing(self.nbytes):
            yield


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
        self.parts = tuple(parts)

    @property
    def tokenizer(self) -> Tokenizer:
        """The first encoder's; the others differ in their marks only."""
        return self.parts[0].tokenizer


class VaeWeights(Weights):
    """An autoencoder."""


@dataclass(frozen=True, eq=False)
class Model:
    """A denoising network, how its noise levels are laid out, and what is changed in it."""

    weights: UNetWeights
    family: Family
    sampling: ModelSampling
    patches: tuple[Patch, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Tells two handles apart that may give different pictures."""
        return _join(self.weights.digest, self.family, self.sampling, self.patches)

    @property
    def nbytes(self) -> int:
        return self.weights.nbytes


@dataclass(frozen=True, eq=False)
class Clip:
    """Text encoders; `layer` counts from their ends, -1 being the last, None each one's own."""

    weights: TextWeights
    family: Family
    layer: int | None = None
    patches: tuple[Patch, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Tells two handles apart that may give different encodings."""
        return _join(self.weights.digest, self.family, self.layer, self.patches)

    @property
    def nbytes(self) -> int:
        return self.weights.nbytes


@dataclass(frozen=True, eq=False)
class Vae:
    """An autoencoder."""

    weights: VaeWeights
    family: Family

    @property
    def fingerprint(self) -> str:
        """Tells two handles apart that may give different pictures."""
        return _join(self.weights.digest, self.family, None, ())

    @property
    def nbytes(self) -> int:
        return self.weights.nbytes


def _join(digest: str, family: Family, own: object, patches: tuple[Patch, ...]) -> str:
    parts = [digest, repr(family), repr(own), *(patch.fingerprint for patch in patches)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
