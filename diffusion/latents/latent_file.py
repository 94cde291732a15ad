"""Latent files: safetensors as ComfyUI's SaveLatent writes them, with more fields.

ComfyUI saves the samples only. The noise mask, the batch index and the family have names of
their own, which ComfyUI ignores.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelFileError
from ..weights.headers import read_metadata, read_tensor_infos

if TYPE_CHECKING:
    from .latents import Latent

EXTENSION = ".latent"
SAMPLES, VERSION = "latent_tensor", "latent_format_version_0"
MASK, BATCH_INDEX, FAMILY = "noise_mask", "batch_index", "family"
MAX_BYTES = 2**30
# Files without a version hold samples that were multiplied by the scale of SD1.5.
OLD_SCALE = 0.18215


def encode_latent(latent: Latent, metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a latent's file.

    Args:
        metadata: strings to save in the header, such as the graph.
    """
    import torch
    from safetensors.torch import save

    tensors = {SAMPLES: latent.samples.contiguous(), VERSION: torch.tensor([])}
    if latent.noise_mask is not None:
        tensors[MASK] = latent.noise_mask.contiguous()
    if latent.batch_index is not None:
        tensors[BATCH_INDEX] = torch.tensor(latent.batch_index)
    family = {FAMILY: latent.family} if latent.family else {}
    data: bytes = save(tensors, {**metadata, **family})
    return data


def check_latent_file(path: Path) -> None:
    """Check from its header that a file holds latents.

    Raises:
        ModelFileError: it does not.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileError(f"{path.name} is too large for latents")
    info = read_tensor_infos(path).get(SAMPLES)
    if info is None or len(info.shape) != 4 or 0 in info.shape or info.dtype[0] not in "FB":
        raise ModelFileError(f"{path.name} holds no latents B×C×h×w under {SAMPLES}")


def read_latent_family(path: Path) -> str | None:
    """Return the family of the latents in a file; None if it does not say.

    Raises:
        ModelFileError: it is not a safetensors file.
    """
    return read_metadata(path).get(FAMILY) or None


def read_latent(path: Path) -> Latent:
    """Read the latents of a file.

    Raises:
        ModelFileError: it holds none, or NaN or infinity.
    """
    from safetensors.torch import load_file

    from .latents import Latent

    check_latent_file(path)
    tensors = load_file(path)
    scale = 1.0 if VERSION in tensors else 1 / OLD_SCALE
    samples = tensors[SAMPLES].float() * scale
    mask, batch_index = tensors.get(MASK), tensors.get(BATCH_INDEX)
    if not bool(samples.isfinite().all()):
        raise ModelFileError(f"{path.name} holds NaN or infinity")
    fits = mask is None or (mask.ndim == 3 and mask.is_floating_point())
    fits &= batch_index is None or batch_index.shape == samples.shape[:1]
    if not fits:
        raise ModelFileError(f"{path.name}: its mask or batch index does not fit its latents")
    indices = None if batch_index is None else tuple(int(index) for index in batch_index)
    return Latent(samples, mask, indices, read_latent_family(path))
