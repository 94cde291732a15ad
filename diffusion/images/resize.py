"""Resizing of B×C×H×W tensors: images, masks and latents alike.

The arithmetic is that of ComfyUI's `common_upscale`, so that its graphs give the same numbers: no
antialiasing, half-pixel centres, and Lanczos through 8 bits.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

# Beyond this cosine two directions count as equal (or opposite), and slerp would divide by 0.
PARALLEL = 1 - 1e-5


def resize(
    samples: Tensor, width: int, height: int, method: str = "bilinear", crop: str = "disabled"
) -> Tensor:
    """Resize B×C×H×W to `width`×`height`.

    Args:
        method: nearest-exact, bilinear, area, bicubic, lanczos (images in 0..1 only) or bislerp.
        crop: `center` first cuts the longer side to the new aspect; `disabled` stretches.
    """
    if crop == "center":
        samples = crop_to_aspect(samples, width, height)
    if method == "lanczos":
        return _lanczos(samples, width, height)
    if method == "bislerp":
        return _bislerp(samples, width, height)
    return interpolate(samples, size=(height, width), mode=method)


def resize_image(
    image: Tensor, width: int, height: int, method: str = "bilinear", crop: str = "disabled"
) -> Tensor:
    """The same for a B×H×W×C image."""
    return resize(image.movedim(-1, 1), width, height, method, crop).movedim(1, -1).contiguous()


def resize_mask(mask: Tensor, width: int, height: int) -> Tensor:
    """The same, bilinear, for a B×H×W mask."""
    return resize(mask.unsqueeze(1), width, height).squeeze(1)


def crop_to_aspect(samples: Tensor, width: int, height: int) -> Tensor:
    """Cut both ends of the side that is too long for the aspect `width`:`height`."""
    old_height, old_width = samples.shape[-2:]
    aspect, expected = old_width / old_height, width / height
    x = y = 0
    if aspect > expected:
        x = round((old_width - old_width * (expected / aspect)) / 2)
    elif aspect < expected:
        y = round((old_height - old_height * (aspect / expected)) / 2)
    x, y = min(x, (old_width - 1) // 2), min(y, (old_height - 1) // 2)
    return samples[..., y : old_height - y, x : old_width - x]


def fit_size(old_width: int, old_height: int, width: int, height: int) -> tuple[int, int]:
    """A wanted size in which 0 means: what keeps the aspect of `old_width`×`old_height`."""
    if width == 0 and height == 0:
        return old_width, old_height
    if width == 0:
        return max(1, round(old_width * height / old_height)), height
    if height == 0:
        return width, max(1, round(old_height * width / old_width))
    return width, height


def scale_size(width: int, height: int, factor: float) -> tuple[int, int]:
    """Both sides times a factor, rounded, at least one."""
    return max(1, round(width * factor)), max(1, round(height * factor))


def size_of_area(width: int, height: int, megapixels: float) -> tuple[int, int]:
    """The size of about this area with the same aspect; a megapixel is 1024×1024."""
    return scale_size(width, height, math.sqrt(megapixels * 1024 * 1024 / (width * height)))


def _lanczos(samples: Tensor, width: int, height: int) -> Tensor:
    """Pillow's Lanczos on 8-bit channels; values are cut to 8 bits, not rounded."""
    levels = (samples.float() * 255.0).nan_to_num(0.0).clamp(0.0, 255.0).to(torch.uint8)
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.LANCZOS))
        for plane in levels.flatten(0, 1).cpu().numpy()
    ]
    resized = torch.from_numpy(np.stack(planes).astype(np.float32) / 255.0)
    shape = (*samples.shape[:-2], height, width)
    return resized.reshape(shape).to(samples.device, samples.dtype)


def _bislerp(samples: Tensor, width: int, height: int) -> Tensor:
    """Spherical interpolation of the channel vectors along rows, then along columns."""
    across = _slerp_rows(samples.float(), width)
    down = _slerp_rows(across.transpose(-1, -2), height).transpose(-1, -2)
    return down.contiguous().to(samples.dtype)


def _slerp_rows(samples: Tensor, width: int) -> Tensor:
    """Resample the last axis of B×C×H×W, at the places where bilinear resizing would read."""
    old = samples.shape[-1]
    line = torch.arange(old, dtype=torch.float32, device=samples.device).reshape(1, 1, 1, old)
    place = interpolate(line, size=(1, width), mode="bilinear").flatten()
    lower = place.floor().long()
    upper = (lower + 1).clamp(max=old - 1)
    return slerp(samples[..., lower], samples[..., upper], place - lower)


def slerp(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Turn `first` towards `second` over dimension 1, lengths changing linearly.

    Opposite vectors have no way between them and are mixed linearly; equal ones stay.
    """
    long_first = first.norm(dim=1, keepdim=True)
    long_second = second.norm(dim=1, keepdim=True)
    unit_first = (first / long_first).nan_to_num(0.0, 0.0, 0.0)
    unit_second = (second / long_second).nan_to_num(0.0, 0.0, 0.0)
    cosine = (unit_first * unit_second).sum(dim=1, keepdim=True)
    angle = cosine.clamp(-1.0, 1.0).acos()
    turned = (
        ((1.0 - share) * angle).sin() * unit_first + (share * angle).sin() * unit_second
    ) / angle.sin()
    turned = turned * (long_first * (1.0 - share) + long_second * share)
    turned = torch.where(cosine > PARALLEL, first, turned)
    return torch.where(cosine < -PARALLEL, first * (1.0 - share) + second * share, turned)
