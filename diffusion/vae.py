"""Pixels to latents and back, whole or in tiles. Latents are in unscaled VAE space."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from .families import ANY
from .handles import Vae
from .latents import Latent


def encode(vae: Vae, pixels: Tensor) -> Latent:
    """The mean of the encoder's posterior; nothing is drawn.

    Args:
        pixels: B×H×W×C in 0..1; cut to multiples of the VAE's factor around the centre.
    """
    with vae.weights.computing():
        samples = _encode(vae, cut_to_cells(pixels, vae.family.vae_factor))
    return Latent(samples.clone(), family=_family_name(vae))


def decode(vae: Vae, latent: Latent) -> Tensor:
    """B×H×W×3 in 0..1, float32 on the CPU."""
    with vae.weights.computing():
        pixels = _to_pixels(_decode(vae, latent.samples))
    return pixels.clone()


def encode_tiled(vae: Vae, pixels: Tensor, tile: int, overlap: int) -> Latent:
    """`encode` in tiles of about `tile` pixels that overlap by `overlap`."""
    factor = vae.family.vae_factor
    picture = cut_to_cells(pixels, factor).movedim(-1, 1)

    def whole(piece: Tensor) -> Tensor:
        return _encode(vae, piece.movedim(1, -1))

    with vae.weights.computing():
        samples = _three_passes(whole, picture, tile, overlap, 1 / factor)
    return Latent(samples.clone(), family=_family_name(vae))


def decode_tiled(vae: Vae, latent: Latent, tile: int, overlap: int) -> Tensor:
    """`decode` in tiles of about `tile` pixels; the overlap is at most a quarter of a tile."""
    factor = vae.family.vae_factor
    overlap = min(overlap, tile // 4)

    def whole(piece: Tensor) -> Tensor:
        return _decode(vae, piece)

    with vae.weights.computing():
        cells = (tile // factor, overlap // factor)
        pixels = _to_pixels(_three_passes(whole, latent.samples, *cells, factor))
    return pixels.clone()


def _family_name(vae: Vae) -> str | None:
    return None if vae.family.name == ANY else vae.family.name


def _encode(vae: Vae, pixels: Tensor) -> Tensor:
    weights = vae.weights
    inputs = (pixels[..., :3].movedim(-1, 1) * 2 - 1).to(weights.device, weights.dtype)
    mean: Tensor = weights.module.encode(inputs).latent_dist.mean  # type: ignore[operator]
    return mean.float().cpu()


def _decode(vae: Vae, samples: Tensor) -> Tensor:
    weights = vae.weights
    inputs = samples.to(weights.device, weights.dtype)
    decoded: Tensor = weights.module.decode(inputs, return_dict=False)[0]  # type: ignore[operator]
    return decoded.float().cpu()


def _to_pixels(decoded: Tensor) -> Tensor:
    return ((decoded + 1) / 2).clamp(0, 1).movedim(1, -1)


def cut_to_cells(pixels: Tensor, factor: int) -> Tensor:
    """The centre of a picture B×H×W×C or a mask B×H×W, its sides multiples of the factor."""
    high, wide = pixels.shape[1:3]
    top, left = (high % factor) // 2, (wide % factor) // 2
    return pixels[:, top : top + high // factor * factor, left : left + wide // factor * factor]


def _three_passes(
    whole: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int, scale: float
) -> Tensor:
    """The mean of passes with wide, tall and square tiles, whose seams lie apart."""
    shapes = [(tile // 2, tile * 2), (tile * 2, tile // 2), (tile, tile)]
    return sum(
        (_tiled(whole, x, shape, overlap, scale) for shape in shapes), torch.tensor(0.0)
    ) / len(shapes)


def _tiled(
    whole: Callable[[Tensor], Tensor],
    x: Tensor,
    tile: tuple[int, int],
    overlap: int,
    scale: float,
) -> Tensor:
    """One pass with tiles of (high, wide), each faded over the overlap on all its sides."""
    high, wide = x.shape[-2:]
    total: Tensor | None = None
    weights = torch.zeros(1, 1, round(high * scale), round(wide * scale))
    for top in _starts(high, tile[0], overlap):
        for left in _starts(wide, tile[1], overlap):
            piece = whole(x[..., top : top + tile[0], left : left + tile[1]])
            fade = _fade(piece, round(overlap * scale))
            if total is None:
                total = torch.zeros(*piece.shape[:2], *weights.shape[-2:])
            rows = slice(round(top * scale), round(top * scale) + piece.shape[-2])
            columns = slice(round(left * scale), round(left * scale) + piece.shape[-1])
            total[..., rows, columns] += piece * fade
            weights[..., rows, columns] += fade
    assert total is not None
    return total / weights


def _starts(size: int, tile: int, overlap: int) -> Iterator[int]:
    if size <= tile:
        yield 0
        return
    for start in range(0, size - overlap, max(1, tile - overlap)):
        yield max(0, min(size - overlap, start))


def _fade(piece: Tensor, width: int) -> Tensor:
    """1×1×h×w of weights that rise from the edges over `width` cells."""
    high, wide = piece.shape[-2:]
    rows, columns = (_ramp(size, width) for size in (high, wide))
    return (rows[:, None] * columns)[None, None]


def _ramp(size: int, width: int) -> Tensor:
    ramp = torch.ones(size)
    for index in range(min(width, size)):
        share = (index + 1) / width
        ramp[index] *= share
        ramp[size - 1 - index] *= share
    return ramp
