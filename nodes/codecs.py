"""How the values on edges are told apart and shown: tensors by dtype, shape and bytes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

from engine import devices, pictures
from engine.devices import Device
from engine.errors import InputError
from engine.fingerprint import Sink, register
from engine.pictures import Picture, PreviewMethod

if TYPE_CHECKING:
    from torch import Tensor


def feed_tensor(tensor: Tensor, sink: Sink) -> None:
    """Write a tensor into a hash, wherever it lies; strides and device do not count."""
    import torch

    flat = tensor.detach().to("cpu").contiguous()
    sink.update(f"T{flat.dtype}{tuple(flat.shape)}:".encode())
    sink.update(flat.reshape(-1).view(torch.uint8).numpy().data)


register("torch.Tensor", feed_tensor)


class PictureFiles:
    """What a server needs of pictures; see `engine.pictures.Pictures`."""

    def clean(self, data: bytes) -> Picture:
        from diffusion.shown import clean

        return _picture(lambda: clean(data))

    def converted(self, data: bytes, kind: str, quality: int) -> Picture:
        from diffusion.shown import convert

        return _picture(lambda: convert(data, kind, quality))

    def channel(self, data: bytes, channel: str) -> Picture:
        from diffusion.shown import channel as one_channel

        return _picture(lambda: one_channel(data, channel))

    def with_alpha_of(self, original: bytes, mask: bytes) -> Picture:
        from diffusion.shown import with_alpha_of

        return _picture(lambda: with_alpha_of(original, mask))

    def preview(self, value: object, method: PreviewMethod) -> Picture | None:
        # What shows nothing must not load torch.
        if value.__class__.__module__ != "diffusion.preview":
            return None
        from diffusion.preview import Sketch, as_jpeg

        data = as_jpeg(value, method) if isinstance(value, Sketch) else None
        return Picture(data, "image/jpeg") if data else None


def _picture(make: Callable[[], tuple[bytes, str]]) -> Picture:
    from diffusion.picture_headers import PictureError

    try:
        return Picture(*make())
    except PictureError as error:
        raise InputError("picture", "file", error.wanted, error.got, error.hint) from error


def accelerators() -> list[Device]:
    """What torch computes on besides the CPU; torch is loaded only where there is a driver."""
    driver = Path("/proc/driver/nvidia").exists() or which("nvidia-smi") is not None
    if "torch" not in sys.modules and not driver and sys.platform != "darwin":
        return []
    from diffusion.devices import describe

    return [Device(*facts) for facts in describe()]


pictures.register(PictureFiles())
devices.register(accelerators)
