"""Handles: the values on MODEL, CLIP and VAE edges, frozen, over weights that they share.

A node that changes a model makes a new handle; the weights stay as they are until they are used.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..families.family import Family
from ..schedules.model_sampling import ModelSampling
from ..text.tokenizers import Tokenizer
from ..weights.text_keys import TextKind
from . import devices
from .patch import Patch, StepState
from .patching import apply_patches
from .residency import Hook, move_partly_to_device, residency


class ControlResiduals(NamedTuple):
    """Tensors that ControlNets add to a UNet's skip connections and to its middle block."""

    skips: tuple[Tensor, ...]
    middle: Tensor


class AddedConditioning(NamedTuple):
    """Conditioning besides the prompt: pooled encodings B×d, and sizes and scores B×n."""

    text_embeds: Tensor
    time_ids: Tensor


class UNetInputs(NamedTuple):
    """The inputs of a UNet and of its ControlNets; see `UNetWeights.predict`."""

    x: Tensor
    timestep: Tensor
    context: Tensor
    added: AddedConditioning | None = None


def make_added_kwargs(added: AddedConditioning | None, dtype: torch.dtype) -> dict[str, Any]:
    """Return `added_cond_kwargs` for diffusers' networks, or no argument without it."""
    if added is None:
        return {}
    return {"added_cond_kwargs": {key: value.to(dtype) for key, value in added._asdict().items()}}


class Weights:
    """A network that moves between its file, memory and its device.

    Attributes:
        digest: of the files that it was loaded from.
        device: that computes with it.
        rounds_to_float16: round patched weights to float16 where the file has them so.
    """

    rounds_to_float16 = False

    def __init__(self, module: nn.Module, digest: str, device: torch.device | None = None) -> None:
        self.digest = digest
        self.device = device or devices.device()
        self._reload: Callable[[], Weights] | None = None
        self.nbytes = 0
        self._module: nn.Module | None = None
        self._hooks: list[Hook] = []
        self._lock = threading.RLock()
        self._set_module(module)

    @property
    def module(self) -> nn.Module:
        """The network, read again from its file if it was unloaded."""
        if self._module is None:
            residency().touch(self)
        assert self._module is not None
        return self._module

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the network."""
        return next(self.module.parameters()).dtype

    @contextmanager
    def use(self, patches: Sequence[Patch] = (), state: StepState | None = None) -> Iterator[None]:
        """Hold the network on its device, patched, around calls to it.

        Other threads wait, since they would see the patches too.
        """
        with (
            self._lock,
            residency().use(self),
            apply_patches(self.module, patches, self.rounds_to_float16, state),
            torch.inference_mode(),
        ):
            yield

    @property
    def is_loaded(self) -> bool:
        """True while the weights are in memory or on the device."""
        return self._module is not None

    def reload_with(self, reload: Callable[[], Weights]) -> None:
        """Let the weights be unloaded, and read again by calling `reload`."""
        self._reload = reload

    @property
    def can_reload(self) -> bool:
        """True if the weights come from a file, so that they can be unloaded."""
        return self._reload is not None

    def load(self) -> None:
        """Read the weights from their file again.

        Raises:
            ModelFileError: the file has changed.
        """
        if self._module is None and self._reload is not None:
            self._copy_from(self._reload())

    def unload(self) -> None:
        """Release the weights."""
        self._module = None

    def move_to_device(self, budget_bytes: int) -> int:
        """Move as much of the network to its device as fits; return the bytes moved."""
        if self.nbytes <= budget_bytes:
            self.module.to(self.device)
            return self.nbytes
        moved_bytes, self._hooks = move_partly_to_device(self.module, self.device, budget_bytes)
        return moved_bytes

    def offload(self) -> None:
        """Move the network to memory."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self.module.to("cpu")

    def _set_module(self, module: nn.Module) -> None:
        self._module = module.eval().requires_grad_(False)
        self.nbytes = sum(parameter.nbytes for parameter in module.parameters())

    def _copy_from(self, other: Weights) -> None:
        self._set_module(other.module)


class UNetWeights(Weights):
    """A denoising network."""

    def predict(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        added: AddedConditioning | None = None,
        control: ControlResiduals | None = None,
    ) -> Tensor:
        """Return the raw output, float32.

        Args:
            x: B×C×h×w, scaled for the network.
            timestep: B numbers.
            context: B×n×d text encoding.
            added: for families with `size_inputs`.
            control: the sum of the ControlNets' residuals.
        """
        dtype = self.dtype
        options = make_added_kwargs(added, dtype)
        if control is not None:
            options["down_block_additional_residuals"] = [skip.to(dtype) for skip in control.skips]
            options["mid_block_additional_residual"] = control.middle.to(dtype)
        context = context.to(dtype)
        result = self.module(x.to(dtype), timestep, context, return_dict=False, **options)
        output: Tensor = result[0]
        return output.float()


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """One text encoder.

    Attributes:
        kind: l, h or g; also the network's name where a model has several encoders.
        layer: that its encoding comes from, counted from the end.
        final_norm: apply the final norm to the encoding of an earlier layer too.
        dropped: unused layers at the end, which the file leaves out.
    """

    kind: TextKind
    module: nn.Module
    tokenizer: Tokenizer
    _: KW_ONLY
    layer: int = -1
    final_norm: bool = True
    dropped: int = 0


class TextWeights(Weights):
    """The text encoders of a model, with their tokenizers.

    ComfyUI computes them in float32 and stores them as their file has them.
    """

    rounds_to_float16 = True

    def __init__(
        self, encoders: Sequence[TextEncoder], digest: str, device: torch.device | None = None
    ) -> None:
        by_kind = nn.ModuleDict({encoder.kind: encoder.module for encoder in encoders})
        super().__init__(encoders[0].module if len(encoders) == 1 else by_kind, digest, device)
        self._encoders = tuple(encoders)

    @property
    def encoders(self) -> tuple[TextEncoder, ...]:
        """The encoders, in the order in which their encodings are joined."""
        if self._module is None:
            residency().touch(self)
        return self._encoders

    @property
    def tokenizer(self) -> Tokenizer:
        """The first encoder's tokenizer; the others differ only in their special tokens."""
        return self.encoders[0].tokenizer

    def unload(self) -> None:
        """Release the weights."""
        super().unload()
        self._encoders = ()

    def _copy_from(self, other: Weights) -> None:
        super()._copy_from(other)
        assert isinstance(other, TextWeights)
        self._encoders = other.encoders


class VaeWeights(Weights):
    """An autoencoder."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Encode images B×C×H×W in -1..1 to unscaled latents: the mean of the posterior."""
        samples: Tensor = self.module.encode(pixels).latent_dist.mean  # type: ignore[operator]
        return samples

    def decode(self, samples: Tensor) -> Tensor:
        """Decode unscaled latents to images B×C×H×W, about -1..1."""
        pixels: Tensor = self.module.decode(samples, return_dict=False)[0]  # type: ignore[operator]
        return pixels


class TinyVaeWeights(VaeWeights):
    """TAESD, whose latents are scaled as sampling has them."""

    def __init__(self, module: nn.Module, digest: str, family: Family) -> None:
        super().__init__(module, digest)
        self.family = family

    def encode(self, pixels: Tensor) -> Tensor:
        """Encode images B×C×H×W in -1..1 to unscaled latents."""
        samples: Tensor = self.module.encode(pixels).latents  # type: ignore[operator]
        return self.family.to_vae(samples)

    def decode(self, samples: Tensor) -> Tensor:
        """Decode unscaled latents to images B×C×H×W, about -1..1."""
        return super().decode(self.family.to_model(samples))


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
    if isinstance(value, tuple):
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


@dataclass(frozen=True, eq=False)
class Vae(NetworkHandle):
    """An autoencoder."""

    weights: VaeWeights
    family: Family
