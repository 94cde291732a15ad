"""Images to latents and back."""

from __future__ import annotations

from typing import Annotated

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import check_fills_a_cell
from .ports import Image, Latent, Vae

EncodedTile = Annotated[int, Between(64, 4096, step=64)]
DecodedTile = Annotated[int, Between(64, 4096, step=32)]
Overlap = Annotated[int, Between(0, 4096, step=32)]
TemporalSize = Annotated[int, Between(8, 4096, step=4)]
TemporalOverlap = Annotated[int, Between(4, 4096, step=4)]


@node("VAEEncode", category="model/latent", device=True)
def vae_encode(pixels: Image, vae: Vae) -> Latent:
    """Encode images into latents.

    Args:
        pixels: images B×H×W×C; centre-cropped to a multiple of the VAE's factor.
        vae: the VAE.

    Raises:
        InputError: the image is smaller than one latent cell.

    Source: ComfyUI's VAEEncode; returns the mean of the posterior, without random sampling.
    """
    from latentloom.diffusion.networks.vae import encode

    check_fills_a_cell("pixels", pixels, vae)
    return encode(vae, pixels)


@node("VAEDecode", category="model/latent", device=True)
def vae_decode(samples: Latent, vae: Vae) -> Image:
    """Decode latents into images.

    Args:
        samples: latents B×C×h×w.
        vae: the VAE.

    Raises:
        InputError: the latent has another number of channels than the VAE.

    Source: ComfyUI's VAEDecode.
    """
    from latentloom.diffusion.networks.vae import decode

    _check_channels(samples, vae)
    return decode(vae, samples)


@node("VAEEncodeTiled", category="model/latent", device=True)
def vae_encode_tiled(
    pixels: Image,
    vae: Vae,
    tile_size: EncodedTile = 512,
    overlap: Overlap = 64,
    temporal_size: TemporalSize = 64,  # noqa: ARG001 - ComfyUI's inputs, for videos
    temporal_overlap: TemporalOverlap = 8,  # noqa: ARG001
) -> Latent:
    """Encode large images in tiles.

    Args:
        pixels: images B×H×W×C; centre-cropped to a multiple of the VAE's factor.
        vae: the VAE.
        tile_size: side of a tile in pixels.
        overlap: overlap of neighbouring tiles in pixels; less than half a tile.
        temporal_size, temporal_overlap: no effect; for videos.

    Raises:
        InputError: the image is smaller than one latent cell, or the overlap is too large.

    Source: ComfyUI's VAEEncodeTiled: the mean of three tilings.
    """
    from latentloom.diffusion.networks.vae import encode_tiled

    check_fills_a_cell("pixels", pixels, vae)
    if 2 * overlap >= tile_size:
        raise InputError("overlap", f"less than {tile_size // 2}", overlap)
    return encode_tiled(vae, pixels, tile_size, overlap)


@node("VAEDecodeTiled", category="model/latent", device=True)
def vae_decode_tiled(
    samples: Latent,
    vae: Vae,
    tile_size: DecodedTile = 512,
    overlap: Overlap = 64,
    temporal_size: TemporalSize = 64,  # noqa: ARG001 - ComfyUI's inputs, for videos
    temporal_overlap: TemporalOverlap = 8,  # noqa: ARG001
) -> Image:
    """Decode large latents in tiles.

    Args:
        samples: latents B×C×h×w.
        vae: the VAE.
        tile_size: side of a tile in pixels.
        overlap: overlap of neighbouring tiles in pixels; limited to a quarter of a tile.
        temporal_size, temporal_overlap: no effect; for videos.

    Raises:
        InputError: the latent has another number of channels than the VAE.

    Source: ComfyUI's VAEDecodeTiled: the mean of three tilings.
    """
    from latentloom.diffusion.networks.vae import decode_tiled

    _check_channels(samples, vae)
    return decode_tiled(vae, samples, tile_size, overlap)


def _check_channels(samples: Latent, vae: Vae) -> None:
    expected, got = vae.family.latent_channels, samples.shape[1]
    if expected != got:
        raise InputError("samples", f"latents with {expected} channels", f"{got} channels")
