"""Encode pixels to latents and decode them, in one piece or in tiles; latents are unscaled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import NonFiniteError
from ..latents.latents import Latent, merge_frames
from . import devices
from .finite import check_finite
from .handles import Vae
from .preview import learn_colours
from .residency import retry_when_out_of_memory
from .tiles import apply_in_tiles

# Side and overlap of tiles, in pixels, for images too large for memory; the same as ComfyUI's.
ENCODING_TILES, DECODING_TILES = (512, 64), (512, 128)


def encode(vae: Vae, pixels: Tensor) -> Latent:
    """Encode images to the mean of the encoder's posterior; nothing is random.

    Args:
        pixels: B×H×W×C in 0..1; cropped around the centre to multiples of the VAE's factor.
    """

    def encode_whole() -> Latent:
        with vae.weights.use():
            cropped = crop_to_cells(pixels, vae.family.vae_factor)
            samples = _encode(vae, cropped)
        learn_colours(vae.family, samples, cropped)
        return _make_latent(vae, samples)

    return retry_when_out_of_memory(
        encode_whole, lambda: _encode_tiled(vae, pixels, *ENCODING_TILES)
    )


def decode(vae: Vae, latent: Latent) -> Tensor:
    """Decode latents to images B×H×W×3 in 0..1, float32 on the CPU; frames are images."""
    samples = merge_frames(latent.samples)

    def decode_whole() -> Tensor:
        with vae.weights.use():
            shown = _to_pixels(_decode(vae, samples))
        pixels = shown.to("cpu", copy=True)
        learn_colours(vae.family, samples, pixels)
        return pixels

    return retry_when_out_of_memory(
        decode_whole, lambda: _decode_tiled(vae, latent, *DECODING_TILES)
    )


def encode_tiled(vae: Vae, pixels: Tensor, tile_px: int, overlap_px: int) -> Latent:
    """Encode images in tiles of about `tile_px` pixels that overlap by `overlap_px`."""
    return retry_when_out_of_memory(lambda: _encode_tiled(vae, pixels, tile_px, overlap_px))


def decode_tiled(vae: Vae, latent: Latent, tile_px: int, overlap_px: int) -> Tensor:
    """Decode latents in tiles of about `tile_px` pixels; they overlap by at most a quarter."""
    return retry_when_out_of_memory(lambda: _decode_tiled(vae, latent, tile_px, overlap_px))


def _encode_tiled(vae: Vae, pixels: Tensor, tile_px: int, overlap_px: int) -> Latent:
    factor = vae.family.vae_factor
    image = crop_to_cells(pixels, factor).movedim(-1, 1)

    def encode_tile(tile: Tensor) -> Tensor:
        return _encode(vae, tile.movedim(1, -1))

    with vae.weights.use():
        samples = _average_passes(encode_tile, image, tile_px, overlap_px, 1 / factor)
    return _make_latent(vae, samples)


def _decode_tiled(vae: Vae, latent: Latent, tile_px: int, overlap_px: int) -> Tensor:
    factor = vae.family.vae_factor
    overlap_px = min(overlap_px, tile_px // 4)

    def decode_tile(tile: Tensor) -> Tensor:
        return _decode(vae, tile).cpu()

    with vae.weights.use():
        cells, frames = (tile_px // factor, overlap_px // factor), merge_frames(latent.samples)
        pixels = _to_pixels(_average_passes(decode_tile, frames, *cells, factor))
    return pixels.clone()


def _make_latent(vae: Vae, samples: Tensor) -> Latent:
    """Return a latent of encoded images B×C×h×w, with an axis of frames if its space has one."""
    space = vae.family.space
    samples = samples.unsqueeze(2) if space.has_frames else samples
    return Latent(samples.clone(), family=vae.family.name if space.name else None)


def _encode(vae: Vae, pixels: Tensor) -> Tensor:
    weights = vae.weights
    inputs = (pixels[..., :3].movedim(-1, 1) * 2 - 1).to(weights.device)
    return _compute(vae, weights.encode, inputs, "the VAE's encoder").float().cpu()


def _decode(vae: Vae, samples: Tensor) -> Tensor:
    """Decode latents to B×C×H×W, about -1..1, float32 on the device."""
    weights = vae.weights
    samples = samples.to(weights.device)
    return _compute(vae, weights.decode, samples, "the VAE's decoder").to(torch.float32, copy=True)


def _compute(
    vae: Vae, function: Callable[[Tensor], Tensor], inputs: Tensor, network: str
) -> Tensor:
    """Call the VAE; what overflows in float16 is computed again with a wider range.

    Which precision is used depends on the weights and the inputs alone, so that a result does not
    depend on those before it.

    Raises:
        NonFiniteError: the wider range does not help.
    """
    weights = vae.weights
    output = function(inputs.to(weights.dtype))
    try:
        check_finite(network, output)
    except NonFiniteError:
        if weights.dtype != torch.float16:
            raise
        with weights.widened(devices.wide_dtype()):
            output = function(inputs.to(weights.dtype))
        check_finite(network, output)
    return output


def _to_pixels(decoded: Tensor) -> Tensor:
    """Return images B×H×W×C in 0..1, on the same device."""
    return ((decoded + 1) / 2).clamp(0, 1).movedim(1, -1).contiguous()


def crop_to_cells(pixels: Tensor, factor: int) -> Tensor:
    """Crop images B×H×W×C or masks B×H×W around the centre to multiples of the factor."""
    height, width = pixels.shape[1:3]
    top, left = (height % factor) // 2, (width % factor) // 2
    return pixels[:, top : top + height // factor * factor, left : left + width // factor * factor]


def _average_passes(
    function: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int, scale: float
) -> Tensor:
    """Average passes with wide, tall and square tiles, so that their seams fall apart."""

    def on_tile(x: Tensor, _top: int, _left: int) -> Tensor:
        return function(x)

    shapes = [(tile // 2, tile * 2), (tile * 2, tile // 2), (tile, tile)]
    passes = (apply_in_tiles(on_tile, x, shape, overlap, scale) for shape in shapes)
    return sum(passes, torch.tensor(0.0)) / len(shapes)
