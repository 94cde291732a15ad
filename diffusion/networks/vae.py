"""Pixels to latents and back, whole or in tiles. Latents are in unscaled VAE space."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..families.family import ANY_FAMILY
from ..latents.latents import Latent
from .handles import Vae
from .preview import learn
from .residency import retry_when_out_of_memory
from .tiles import in_tiles

# Side and overlap of tiles, in pixels, where a whole image does not fit into memory: ComfyUI's.
SPARE_ENCODING, SPARE_DECODING = (512, 64), (512, 128)


def encode(vae: Vae, pixels: Tensor) -> Latent:
    """The mean of the encoder's posterior; nothing is drawn.

    Args:
        pixels: B×H×W×C in 0..1; cut to multiples of the VAE's factor around the centre.
    """

    def whole() -> Latent:
        with vae.weights.use():
            cells = crop_to_cells(pixels, vae.family.vae_factor)
            samples = _encode(vae, cells)
        learn(vae.family, samples, cells)
        return Latent(samples.clone(), family=_family_name(vae))

    return retry_when_out_of_memory(whole, lambda: _encode_tiled(vae, pixels, *SPARE_ENCODING))


def decode(vae: Vae, latent: Latent) -> Tensor:
    """B×H×W×3 in 0..1, float32 on the CPU."""

    def whole() -> Tensor:
        with vae.weights.use():
            pixels = _to_pixels(_decode(vae, latent.samples))
        learn(vae.family, latent.samples, pixels)
        return pixels.clone()

    return retry_when_out_of_memory(whole, lambda: _decode_tiled(vae, latent, *SPARE_DECODING))


def encode_tiled(vae: Vae, pixels: Tensor, tile: int, overlap: int) -> Latent:
    """`encode` in tiles of about `tile` pixels that overlap by `overlap`."""
    return retry_when_out_of_memory(lambda: _encode_tiled(vae, pixels, tile, overlap))


def decode_tiled(vae: Vae, latent: Latent, tile: int, overlap: int) -> Tensor:
    """`decode` in tiles of about `tile` pixels; the overlap is at most a quarter of a tile."""
    return retry_when_out_of_memory(lambda: _decode_tiled(vae, latent, tile, overlap))


def _encode_tiled(vae: Vae, pixels: Tensor, tile: int, overlap: int) -> Latent:
    factor = vae.family.vae_factor
    image = crop_to_cells(pixels, factor).movedim(-1, 1)

    def whole(piece: Tensor) -> Tensor:
        return _encode(vae, piece.movedim(1, -1))

    with vae.weights.use():
        samples = _three_passes(whole, image, tile, overlap, 1 / factor)
    return Latent(samples.clone(), family=_family_name(vae))


def _decode_tiled(vae: Vae, latent: Latent, tile: int, overlap: int) -> Tensor:
    factor = vae.family.vae_factor
    overlap = min(overlap, tile // 4)

    def whole(piece: Tensor) -> Tensor:
        return _decode(vae, piece)

    with vae.weights.use():
        cells = (tile // factor, overlap // factor)
        pixels = _to_pixels(_three_passes(whole, latent.samples, *cells, factor))
    return pixels.clone()


def _family_name(vae: Vae) -> str | None:
    return None if vae.family.name == ANY_FAMILY else vae.family.name


def _encode(vae: Vae, pixels: Tensor) -> Tensor:
    weights = vae.weights
    inputs = (pixels[..., :3].movedim(-1, 1) * 2 - 1).to(weights.device, weights.dtype)
    return weights.encode(inputs).float().cpu()


def _decode(vae: Vae, samples: Tensor) -> Tensor:
    weights = vae.weights
    return weights.decode(samples.to(weights.device, weights.dtype)).float().cpu()


def _to_pixels(decoded: Tensor) -> Tensor:
    return ((decoded + 1) / 2).clamp(0, 1).movedim(1, -1)


def crop_to_cells(pixels: Tensor, factor: int) -> Tensor:
    """The centre of an image B×H×W×C or a mask B×H×W, its sides multiples of the factor."""
    height, width = pixels.shape[1:3]
    top, left = (height % factor) // 2, (width % factor) // 2
    return pixels[:, top : top + height // factor * factor, left : left + width // factor * factor]


def _three_passes(
    whole: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int, scale: float
) -> Tensor:
    """The mean of passes with wide, tall and square tiles, whose seams lie apart."""

    def piece(part: Tensor, _top: int, _left: int) -> Tensor:
        return whole(part)

    shapes = [(tile // 2, tile * 2), (tile * 2, tile // 2), (tile, tile)]
    return sum(
        (in_tiles(piece, x, shape, overlap, scale) for shape in shapes), torch.tensor(0.0)
    ) / len(shapes)
