"""Handles: the values on MODEL, CLIP and VAE edges, frozen, over weights that they share.

A node that changes a model makes a new handle; the weights stay as they are until they are used.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

from ..families.family import Family
from ..schedules.model_sampling import ModelSampling
from ..text.recipes import CLIP_RECIPE, TextRecipe
from .patch import Patch
from .weights import TextWeights, UNetWeights, VaeWeights, Weights


@dataclass(frozen=True, eq=False)
class NetworkHandle:
    """A network as it travels on edges, with its settings and patches."""

    weights: Weights

    @property
    def fingerprint(self) -> str:
        """Identify the handle: two with one fingerprint give the same results."""
        own = (getattr(self, field.name) for field in fields(self) if field.name != "weights")
        parts = [type(self).__name__, self.weights.digest, *map(_fingerprint, own)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def nbytes(self) -> int:
        """The handle's own size, 0; residency counts its weights."""
        return 0


def _fingerprint(value: object) -> str:
    """Identify patches by their fingerprints, any other value by its repr."""
    if isinstance(value, tuple) and all(hasattr(patch, "fingerprint") for patch in value):
        return "\0".join(patch.fingerprint for patch in value)
    return repr(value)


@dataclass(frozen=True, eq=False)
class Model(NetworkHandle):
    """A denoising network with its noise schedule and patches."""

    weights: UNetWeights
    family: Family
    sampling: ModelSampling
    patches: tuple[Patch, ...] = ()


@dataclass(frozen=True, eq=False)
class Clip(NetworkHandle):
    """Text encoders; `layer` counts from the end (-1 is the last), None is each encoder's own."""

    weights: TextWeights
    family: Family
    layer: int | None = None
    patches: tuple[Patch, ...] = ()
    recipe: TextRecipe = CLIP_RECIPE


@dataclass(frozen=True, eq=False)
class Vae(NetworkHandle):
    """An autoencoder."""

    weights: VaeWeights
    family: Family
