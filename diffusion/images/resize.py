"""Resizing of images, masks and latents.

The arithmetic is as in `common_upscale` of ComfyUI, for identical results: no antialiasing,
half-pixel centres, and Lanczos in 8 bits.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

# Above this cosine, directions count as equal (or opposite): slerp would divide by 0.
PARALLEL = 1 - 1e-5


def resize(
    samples: Tensor, width: int, height: int, method: str = "bilinear", crop: str = "disabled"
) -> Tensor:
    """Resize B×C×H×W to `width`×`height`.

    Args:
        method: nearest-exact, bilinear, area, bicubic, lanczos (images in 0..1 only) or bislerp.
        crop: `center` first crops to the new aspect ratio; `disabled` stretches.
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
    """Resize images B×H×W×C; see `resize`."""
    return resize(image.movedim(-1, 1), width, height, method, crop).movedim(1, -1).contiguous()


def resize_mask(mask: Tensor, width: int, height: int) -> Tensor:
    """Resize masks B×H×W (bilinear)."""
    return resize(mask.unsqueeze(1), width, height).squeeze(1)


def crop_to_aspect(samples: Tensor, width: int, height: int) -> Tensor:
    """Crop B×C×H×W around the centre to the aspect ratio `width`:`height`."""
    old_height, old_width = samples.shape[-2:]
    aspect, new_aspect = old_width / old_height, width / height
    x = y = 0
    if aspect > new_aspect:
        x = round((old_width - old_width * (new_aspect / aspect)) / 2)
    elif aspect < new_aspect:
        y = round((old_height - old_height * (aspect / new_aspect)) / 2)
    x, y = min(x, (old_width - 1) // 2), min(y, (old_height - 1) // 2)
    return samples[..., y : old_height - y, x : old_width - x]


def fit_size(old_width: int, old_height: int, width: int, height: int) -> tuple[int, int]:
    """Return a size without zeros: a side of 0 follows from the old aspect ratio."""
    if width == 0 and height == 0:
        return old_width, old_height
    if width == 0:
        return max(1, round(old_width * height / old_height)), height
    if height == 0:
        return width, max(1, round(old_height * width / old_width))
    return width, height


def scale_size(width: int, height: int, factor: float) -> tuple[int, int]:
    """Multiply both sides by a factor; rounded, at least 1."""
    return max(1, round(width * factor)), max(1, round(height * factor))


def size_of_area(width: int, height: int, megapixels: float, multiple: int = 1) -> tuple[int, int]:
    """Return the size of about this area and aspect ratio, in multiples; 1 is 1024×1024."""
    factor = math.sqrt(megapixels * 1024 * 1024 / (width * height))
    across, down = (max(1, round(side * factor / multiple)) for side in (width, height))
    return across * multiple, down * multiple


def _lanczos(samples: Tensor, width: int, height: int) -> Tensor:
    """Resize with Pillow's Lanczos filter in 8 bits; values are truncated, not rounded."""
    levels = (samples.float() * 255.0).nan_to_num(0.0).clamp(0.0, 255.0).to(torch.uint8)
    planes = [
        np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.LANCZOS))
        for plane in levels.flatten(0, 1).cpu().numpy()
    ]
    resized = torch.from_numpy(np.stack(planes).astype(np.float32) / 255.0)
    shape = (*samples.shape[:-2], height, width)
    return resized.reshape(shape).to(samples.device, samples.dtype)


def _bislerp(samples: Tensor, width: int, height: int) -> Tensor:
    """Interpolate the channel vectors spherically along rows, then along columns."""
    across = _slerp_rows(samples.float(), width)
    down = _slerp_rows(across.transpose(-1, -2), height).transpose(-1, -2)
    return down.contiguous().to(samples.dtype)


def _slerp_rows(samples: Tensor, width: int) -> Tensor:
    """Resample the last axis of B×C×H×W, at the positions of bilinear resizing."""
    old = samples.shape[-1]
    line = torch.arange(old, dtype=torch.float32, device=samples.device).reshape(1, 1, 1, old)
    position = interpolate(line, size=(1, width), mode="bilinear").flatten()
    lower = position.floor().long()
    upper = (lower + 1).clamp(max=old - 1)
    return slerp(samples[..., lower], samples[..., upper], position - lower)


def slerp(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Interpolate directions spherically over dimension 1, and lengths linearly.

    Opposite vectors are interpolated linearly.

    Args:
        weight: weight of `second`, 0 to 1.
    """
    length_first = first.norm(dim=1, keepdim=True)
    length_second = second.norm(dim=1, keepdim=True)
    unit_first = (first / length_first).nan_to_num(0.0, 0.0, 0.0)
    unit_second = (second / length_second).nan_to_num(0.0, 0.0, 0.0)
    cosine = (unit_first * unit_second).sum(dim=1, keepdim=True)
    angle = cosine.clamp(-1.0, 1.0).acos()
    turned = (
        ((1.0 - weight) * angle).sin() * unit_first + (weight * angle).sin() * unit_second
    ) / angle.sin()
    turned = turned * (length_first * (1.0 - weight) + length_second * weight)
    turned = torch.where(cosine > PARALLEL, first, turned)
    return torch.where(cosine < -PARALLEL, first * (1.0 - weight) + second * weight, turned)
