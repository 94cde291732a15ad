"""Conversion between image files and IMAGE tensors (float32 B×H×W×C, sRGB, 0..1, CPU)."""

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

EMPTY_MASK_SIDE_PX = 64
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class LoadedImage(NamedTuple):
    """An image 1×H×W×3, and its mask 1×H×W, 1 where the file is transparent."""

    image: Tensor
    mask: Tensor


def load(path: Path, read: Read = read_all) -> LoadedImage:
    """Load an image file; the mask is 1 - alpha.

    A file without alpha gives a mask of 64×64 zeros, as in ComfyUI. 16-bit grey keeps its
    precision. Colours of transparent pixels are preserved.

    Args:
        read: returns the content of the file, as in `check_file`.

    Raises:
        ImageFileError: the file cannot be used as an image.
    """
    return from_pillow(read_image(path, read))


def from_pillow(image: Pillow.Image) -> LoadedImage:
    """Return a decoded image and its mask, as `load` does."""
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        grey = torch.from_numpy(levels.astype(np.float32) / 65535.0)
        mask = empty_mask()
        if image.has_transparency_data:
            transparent = levels == image.info["transparency"]
            mask = torch.from_numpy(transparent.astype(np.float32))[None]
        return LoadedImage(grey[None, :, :, None].repeat(1, 1, 1, 3), mask)
    if not image.has_transparency_data:
        return LoadedImage(_to_tensor(image.convert("RGB")), empty_mask())
    pixels = _to_tensor(image.convert("RGBA"))
    return LoadedImage(pixels[..., :3].contiguous(), 1.0 - pixels[..., 3])


def load_mask(path: Path, channel: str, read: Read = read_all) -> Tensor:
    """Load one channel of an image file as a mask 1×H×W; `alpha` gives 1 - alpha.

    Args:
        channel: red, green, blue or alpha.

    Raises:
        ImageFileError: the file cannot be used as an image.
    """
    image, transparent = load(path, read)
    if channel != "alpha":
        return image[..., ("red", "green", "blue").index(channel)].clone()
    has_alpha = transparent.shape[1:] == image.shape[1:3]
    return transparent if has_alpha else torch.zeros(image.shape[:3])


def empty_mask() -> Tensor:
    """Return the mask of an image without alpha: zeros, 1×64×64."""
    return torch.zeros(1, EMPTY_MASK_SIDE_PX, EMPTY_MASK_SIDE_PX)


def to_bytes(image: Tensor) -> Tensor:
    """Convert an image to uint8: 255·v, clamped and truncated; NaN becomes 0."""
    return (image.float() * 255.0).nan_to_num(0.0, 255.0, 0.0).clamp(0.0, 255.0).to(torch.uint8)


def to_pillow(image: Tensor) -> Pillow.Image:
    """Convert one image H×W×C with 1, 3 or 4 channels to a Pillow image.

    Raises:
        ValueError: the image has no pixels, or another number of channels.
    """
    if image.ndim != 3 or image.shape[-1] not in MODES or 0 in image.shape:
        raise ValueError(f"expected an image H×W×1, 3 or 4, got {tuple(image.shape)}")
    levels = to_bytes(image).cpu().numpy()
    return Pillow.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)


def encode_png(image: Tensor, text: Mapping[str, str] | None = None, level: int = 4) -> bytes:
    """Encode one image H×W×C as a PNG.

    Args:
        text: text chunks to embed.
        level: compression level, 0 to 9.

    Raises:
        ValueError: the image has no pixels, or other than 1, 3 or 4 channels.
    """
    chunks = PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    buffer = io.BytesIO()
    to_pillow(image).save(buffer, "PNG", pnginfo=chunks, compress_level=level)
    return buffer.getvalue()


def _to_tensor(image: Pillow.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).astype(np.float32) / 255.0).unsqueeze(0)
