"""CIE Lab, and perceived colour differences."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Primaries and D65 white of sRGB (IEC 61966-2-1).
TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
CORNER = 6 / 29
CHROMA_7 = 25.0**7


def to_lab(image: Tensor) -> Tensor:
    """Convert sRGB colours in 0..1 (last axis) to Lab with L in 0..100, float64."""
    rgb = image[..., :3].double().clamp(0.0, 1.0)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(TO_XYZ, dtype=torch.float64)
    ratio = linear @ (matrix / matrix.sum(dim=1, keepdim=True)).T
    low = ratio / (3 * CORNER**2) + 4 / 29
    x, y, z = torch.where(ratio > CORNER**3, ratio.clamp(min=0.0) ** (1 / 3), low).unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)


def to_rgb(lab: Tensor) -> Tensor:
    """Convert Lab colours to sRGB in 0..1, float32; colours outside the gamut are clamped."""
    light, a, b = lab.double().unbind(-1)
    y = (light + 16) / 116
    roots = torch.stack([y + a / 500, y, y - b / 200], dim=-1)
    ratio = torch.where(roots > CORNER, roots**3, 3 * CORNER**2 * (roots - 4 / 29))
    matrix = torch.tensor(TO_XYZ, dtype=torch.float64)
    linear = ratio @ torch.linalg.inv(matrix / matrix.sum(dim=1, keepdim=True)).T
    linear = linear.clamp(0.0, 1.0)
    curved = 1.055 * linear ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, curved).clamp(0.0, 1.0).float()


def delta_e(first: Tensor, second: Tensor) -> Tensor:
    """Return the CIEDE2000 difference of Lab colours (last axis); about 1 is just visible.

    Source: Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula" (2005).
    """
    (l1, a1, b1), (l2, a2, b2) = first.unbind(-1), second.unbind(-1)
    chroma = (torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * (chroma**7 / (chroma**7 + CHROMA_7)).sqrt()
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = (torch.rad2deg(torch.atan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    grey = c1 * c2 == 0
    turn = (h2 - h1 + 180) % 360 - 180
    turn = torch.where((h2 - h1) == 180, torch.full_like(turn, 180.0), turn).masked_fill(grey, 0.0)
    hue_difference = 2 * (c1 * c2).sqrt() * torch.deg2rad(turn / 2).sin()
    far = (h1 - h2).abs() > 180
    mean_hue = torch.where(far, (h1 + h2 + 360) / 2 % 360, (h1 + h2) / 2)
    mean_hue = torch.where(grey, h1 + h2, mean_hue)
    light, mean_chroma = (l1 + l2) / 2, (c1 + c2) / 2
    weight_l = 1 + 0.015 * (light - 50) ** 2 / (20 + (light - 50) ** 2).sqrt()
    weight_c = 1 + 0.045 * mean_chroma
    weight_h = 1 + 0.015 * mean_chroma * _hue_weight(mean_hue)
    rotation = torch.deg2rad(60 * torch.exp(-(((mean_hue - 275) / 25) ** 2))).sin()
    rotation = -2 * (mean_chroma**7 / (mean_chroma**7 + CHROMA_7)).sqrt() * rotation
    parts = ((l2 - l1) / weight_l, (c2 - c1) / weight_c, hue_difference / weight_h)
    total = sum(part**2 for part in parts) + rotation * parts[1] * parts[2]
    return torch.as_tensor(total).clamp(min=0.0).sqrt()


def _hue_weight(hue: Tensor) -> Tensor:
    def wave(factor: float, shift: float) -> Tensor:
        return (hue * factor + shift).mul(math.pi / 180).cos()

    return 1 - 0.17 * wave(1, -30) + 0.24 * wave(2, 0) + 0.32 * wave(3, 6) - 0.20 * wave(4, -63)
