"""IMAGE tensors (float32 B×H×W×C, sRGB, 0..1, on the CPU) from image files and into them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from .image_files import Read, read_all, read_image

NO_MASK_SIDE = 64
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Loaded(NamedTuple):
    """An image, and the mask of what is transparent in it."""

    image: Tensor
    mask: Tensor


def load(path: Path, read: Read = read_all) -> Loaded:
    """An image file as a 1×H×W×3 image, and 1 - alpha as its 1×H×W mask.

    A file without alpha gives a mask of 64×64 zeros, as ComfyUI does. 16-bit grey keeps its
    16 bits. Colours under full transparency are kept.

    Args:
        read: gives the content of the file, as in `check_file`.

    Raises:
        ImageFileError: it is no image that can be used.
    """
    image = read_image(path, read)
    if image.mode.startswith("I"):
        grey = torch.from_numpy(np.asarray(image).astype(np.float32) / 65535.0)
        return Loaded(grey[None, :, :, None].repeat(1, 1, 1, 3), no_mask())
    if not image.has_transparency_data:
        return Loaded(_tensor(image.convert("RGB")), no_mask())
    pixels = _tensor(image.convert("RGBA"))
    return Loaded(pixels[..., :3].contiguous(), 1.0 - pixels[..., 3])


def load_mask(path: Path, channel: str, read: Read = read_all) -> Tensor:
    """One channel of an image file as a 1×H×W mask; `alpha` gives 1 - alpha.

    Args:
        channel: red, green, blue or alpha.

    Raises:
        ImageFileError: it is no image that can be used.
    """
    image, transparent = load(path, read)
    if channel != "alpha":
        return image[..., ("red", "green", "blue").index(channel)].clone()
    opaque = transparent.shape[1:] != image.shape[1:3]
    return torch.zeros(image.shape[:3]) if opaque else transparent


def no_mask() -> Tensor:
    """The mask of an image that has no alpha."""
    return torch.zeros(1, NO_MASK_SIDE, NO_MASK_SIDE)


def to_bytes(image: Tensor) -> Tensor:
    """uint8 levels of an image: 255·v, cut to 0..255 and not rounded; NaN becomes 0."""
    return (image.float() * 255.0).nan_to_num(0.0, 255.0, 0.0).clamp(0.0, 255.0).to(torch.uint8)


def to_pillow(image: Tensor) -> Pillow.Image:
    """One H×W×C image of 1, 3 or 4 channels as a Pillow image.

    Raises:
        ValueError: it has no pixels, or other channels.
    """
    if image.ndim != 3 or image.shape[-1] not in MODES or 0 in image.shape:
        raise ValueError(f"an image of {tuple(image.shape)} cannot be an image")
    levels = to_bytes(image).cpu().numpy()
    return Pillow.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)


def encode_png(image: Tensor, text: Mapping[str, str] | None = None, level: int = 4) -> bytes:
    """One H×W×C image as the bytes of a PNG.

    Args:
        text: text chunks to embed.
        level: effort of compression, 0 to 9.

    Raises:
        ValueError: it has no pixels, or other than 1, 3 or 4 channels.
    """
    notes = PngInfo()
    for key, value in (text or {}).items():
        notes.add_text(key, value)
    sink = io.BytesIO()
    to_pillow(image).save(sink, "PNG", pnginfo=notes, compress_level=level)
    return sink.getvalue()


def _tensor(image: Pillow.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).astype(np.float32) / 255.0).unsqueeze(0)
