"""Weights: the networks behind handles, that move between their file, memory and device."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ..families.family import Architecture, Family, Residuals
from ..families.unet import UNET
from ..text.tokenizers import Tokenizer
from ..weights.text_keys import TextKind
from . import devices
from .fast.support import why_hooked, why_not_here, why_not_network
from .narrow import find_dtype
from .patch import Patch, StepState
from .patching import apply_patches, patch_keys, why_eager
from .residency import Hook, move_partly_to_device, residency

if TYPE_CHECKING:
    from .fast.calls import FastCalls
    from .fast.capture import Function


class UNetInputs(NamedTuple):
    """The inputs of a UNet and of its ControlNets; see `UNetWeights.predict`."""

    x: Tensor
    timestep: Tensor
    context: Tensor
    added: Any = None


class FastUse(NamedTuple):
    """The fast calls of a network while it is in use, and a key of its static patches."""

    calls: FastCalls
    key: Hashable


class Weights:
    """A network that moves between its file, memory and its device.

    Attributes:
        digest: of the files that it was loaded from.
        device: that computes with it.
        rounds_to_float16: round patched weights to float16 where the file has them so.
        captured_calls, eager_calls: numbers of calls, captured as CUDA graphs or not.
        eager_reason: why the last use ran without the fast forwards, or why nothing is captured
            any more; None otherwise.
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
        self._fast: FastCalls | None = None
        self._in_use: FastUse | None = None
        self._depth = 0
        # Why the network has no fast calls, once it was looked at.
        self._unfit: tuple[str | None] | None = None
        self.eager_reason: str | None = None
        self.captured_calls = self.eager_calls = 0
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
        return find_dtype(self.module)

    @contextmanager
    def use(self, patches: Sequence[Patch] = (), state: StepState | None = None) -> Iterator[None]:
        """Hold the network on its device, patched, around calls to it.

        Other threads wait, since they would see the patches too.
        """
        with self._lock, residency().use(self):
            before, self._in_use = self._in_use, None
            self._depth += 1
            try:
                self._in_use = self._begin_fast_use(patches, state)
                in_place = self._in_use is not None
                rounded = self.rounds_to_float16
                with (
                    apply_patches(
                        self.module, patches, rounded, state, in_place=in_place, dtype=self.dtype
                    ),
                    torch.inference_mode(),
                ):
                    yield
            finally:
                self._depth -= 1
                self._in_use = before

    def _begin_fast_use(self, patches: Sequence[Patch], state: StepState | None) -> FastUse | None:
        """Return the fast calls of this use, or note why there are none."""
        self.eager_reason = (
            why_not_here(self.device)
            or ("it is in use already" if self._depth > 1 else None)
            or ("it is streamed layer by layer" if self._hooks else None)
            or why_eager(patches, state)
            or self._why_not_fit()
        )
        if self.eager_reason is not None:
            return None
        if self._fast is None:
            from .fast.calls import FastCalls, gpu_tools

            self._fast = FastCalls(self.module, gpu_tools())
        weights_key, calls_key = patch_keys(patches)
        self._fast.begin(weights_key)
        return FastUse(self._fast, calls_key)

    def _why_not_fit(self) -> str | None:
        """Say why the network has no fast calls; its layers are looked at once."""
        if self._unfit is None:
            self._unfit = (why_not_network(self.module),)
        return self._unfit[0] or why_hooked(self.module)

    def _call(
        self, name: str, function: Function, changing: Any, constant: Any = ()
    ) -> Sequence[Tensor]:
        """Call a function of the network, captured where this use allows it.

        The next call overwrites the results. See `FastCalls.run` for the arguments.
        """
        use = self._in_use
        if use is None or not use.calls.is_untouched:
            self.eager_calls += 1
            return function(*changing, *constant)
        is_captured, outputs = use.calls.run((name, use.key), function, changing, constant)
        self.eager_reason = use.calls.failure
        self.captured_calls += is_captured
        self.eager_calls += not is_captured
        return outputs

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
        self._drop_fast()
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
        self._drop_fast()
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self.module.to("cpu")

    def _drop_fast(self) -> None:
        """Release the captured calls; they hold the addresses of weights on the device."""
        if self._fast is not None:
            self._fast.drop()
            self._fast = None

    def _set_module(self, module: nn.Module) -> None:
        self._module = module.eval().requires_grad_(False)
        self._unfit = None
        self.nbytes = sum(parameter.nbytes for parameter in module.parameters())

    def _copy_from(self, other: Weights) -> None:
        self._set_module(other.module)


class UNetWeights(Weights):
    """A denoising network.

    Args:
        architecture: its class, which says how it is called.
    """

    def __init__(
        self,
        module: nn.Module,
        digest: str,
        device: torch.device | None = None,
        architecture: Architecture = UNET,
    ) -> None:
        super().__init__(module, digest, device)
        self.architecture = architecture

    def predict(
        self,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        added: Any = None,
        control: Residuals | None = None,
    ) -> Tensor:
        """Return the raw output, float32.

        Args:
            x: B×C×h×w, scaled for the network.
            timestep: B numbers.
            context: B×n×d text encoding.
            added: extra conditioning, from the architecture's `gather`.
            control: the sum of the ControlNets' residuals.
        """
        dtype, use = self.dtype, self._in_use
        context = context.to(dtype)
        if use is not None and use.calls.is_untouched:
            context = use.calls.project(context)
        residuals = None if control is None else control.to(dtype)
        changing, constant = (x.to(dtype).contiguous(), timestep, residuals), (context, added)
        (output,) = self._call("denoise", self._compute, changing, constant)
        return output.to(torch.float32, copy=True)

    def _compute(
        self, x: Tensor, timestep: Tensor, control: Any, context: Tensor, added: Any
    ) -> tuple[Tensor]:
        predict = self.architecture.predict
        return (predict(self.module, x, timestep, context, added, control),)


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """One text encoder.

    Attributes:
        kind: also the network's name where a model has several encoders.
        layer: that the encoding of a CLIP comes from, counted from the end.
        final_norm: apply the final norm to the encoding of an earlier layer too.
        dropped: unused layers at the end, which the file leaves out.
        is_projected: its pooled encoding goes through its projection, if it has one.
    """

    kind: TextKind
    module: nn.Module
    tokenizer: Tokenizer
    _: KW_ONLY
    layer: int = -1
    final_norm: bool = True
    dropped: int = 0
    is_projected: bool = True


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
        return self._call("encode", self._encode, (pixels.contiguous(),))[0]

    def decode(self, samples: Tensor) -> Tensor:
        """Decode unscaled latents to images B×C×H×W, about -1..1."""
        return self._call("decode", self._decode, (samples.contiguous(),))[0]

    def _encode(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.module.encode(pixels).latent_dist.mean,)  # type: ignore[operator]

    def _decode(self, samples: Tensor) -> tuple[Tensor]:
        return (self.module.decode(samples, return_dict=False)[0],)  # type: ignore[operator]

    @contextmanager
    def widened(self, dtype: torch.dtype) -> Iterator[None]:
        """Compute in a precision with a wider range, while in use; the weights stay."""
        parameters = list(self.module.parameters())
        originals = [parameter.data for parameter in parameters]
        before, self._in_use = self._in_use, None
        try:
            for parameter in parameters:
                parameter.data = parameter.data.to(dtype)
            yield
        finally:
            self._in_use = before
            for parameter, original in zip(parameters, originals, strict=True):
                parameter.data = original


class VideoVaeWeights(VaeWeights):
    """An autoencoder of videos, for images: each is a video of one frame."""

    def _encode(self, pixels: Tensor) -> tuple[Tensor]:
        return (super()._encode(pixels.unsqueeze(2))[0].squeeze(2),)

    def _decode(self, samples: Tensor) -> tuple[Tensor]:
        return (super()._decode(samples.unsqueeze(2))[0].squeeze(2),)


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
