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
from .patching import Patch, patched
from .tokenizers import Tokenizer


class Residuals(NamedTuple):
    """What ControlNets add in a denoising network: to each skip connection, and in its middle."""

    skips: tuple[Tensor, ...]
    middle: Tensor


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
    def computing(self, patches: Sequence[Patch] = ()) -> Iterator[None]:
        """To be entered around the network's calls, which see it patched.

        One at a time: another thread would see the patches too.
        """
        on = patched(self.module, patches, self.halves)
        with self._lock, on, devices.computing(self.nbytes):
            yield


class UNetWeights(Weights):
    """A denoising network."""

    @property
    def in_channels(self) -> int:
        """Channels that the network reads: those of a latent, and an inpainting model's more."""
        config: Any = self.module.config
        return int(config["in_channels"])

    def predict(
        self, x: Tensor, timestep: Tensor, context: Tensor, control: Residuals | None = None
    ) -> Tensor:
        """The raw output, float32.

        Args:
            x: B×C×h×w, scaled for the network.
            timestep: B numbers.
            context: B×n×d text encoding.
            control: what ControlNets add.
        """
        dtype, options = self.dtype, dict[str, Any]()
        if control is not None:
            options["down_block_additional_residuals"] = [one.to(dtype) for one in control.skips]
            options["mid_block_additional_residual"] = control.middle.to(dtype)
        context = context.to(dtype)
        result = self.module(x.to(dtype), timestep, context, return_dict=False, **options)
        output: Tensor = result[0]
        return output.float()


class TextWeights(Weights):
    """A text encoder and its tokenizer; ComfyUI computes it in float32 and stores it as it was."""

    halves = True

    def __init__(self, module: nn.Module, digest: str, tokenizer: Tokenizer) -> None:
        super().__init__(module, digest)
        self.tokenizer = tokenizer


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
    """A text encoder; `layer` counts from its end, -1 being the last."""

    weights: TextWeights
    family: Family
    layer: int = -1
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
