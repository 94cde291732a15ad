"""Latents in files: safetensors as ComfyUI's SaveLatent writes them, and what it leaves out.

ComfyUI keeps the samples alone. A noise mask, the draws of noise and the family lie beside them
under names of their own, which it passes over.
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
MASK, DRAWS, FAMILY = "noise_mask", "batch_index", "family"
MAX_BYTES = 2**30
# Before it had a version, the samples were multiplied with the scale of SD1.5.
FIRST_SCALE = 0.18215


def encode_latent(latent: Latent, notes: Mapping[str, str]) -> bytes:
    """A file's bytes.

    Args:
        notes: text to keep beside, such as the graph.
    """
    import torch
    from safetensors.torch import save

    tensors = {SAMPLES: latent.samples.contiguous(), VERSION: torch.tensor([])}
    if latent.noise_mask is not None:
        tensors[MASK] = latent.noise_mask.contiguous()
    if latent.batch_index is not None:
        tensors[DRAWS] = torch.tensor(latent.batch_index)
    family = {FAMILY: latent.family} if latent.family else {}
    data: bytes = save(tensors, {**notes, **family})
    return data


def check_latent_file(path: Path) -> None:
    """Whether a file holds latents; from its header alone.

    Raises:
        ModelFileError: it does not.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileError(f"{path.name} is too large for latents")
    found = read_tensor_infos(path).get(SAMPLES)
    if found is None or len(found.shape) != 4 or 0 in found.shape or found.dtype[0] not in "FB":
        raise ModelFileError(f"{path.name} holds no latents B×C×h×w under {SAMPLES}")


def read_latent_family(path: Path) -> str | None:
    """The family that latents in a file belong to; None where it does not say.

    Raises:
        ModelFileError: it is no safetensors file.
    """
    return read_metadata(path).get(FAMILY) or None


def read_latent(path: Path) -> Latent:
    """The latents of a file.

    Raises:
        ModelFileError: it holds none, or some that are not finite.
    """
    from safetensors.torch import load_file

    from .latents import Latent

    check_latent_file(path)
    tensors = load_file(path)
    scale = 1.0 if VERSION in tensors else 1 / FIRST_SCALE
    samples, mask, draws = tensors[SAMPLES].float() * scale, tensors.get(MASK), tensors.get(DRAWS)
    if not bool(samples.isfinite().all()):
        raise ModelFileError(f"{path.name} holds NaN or infinity")
    fits = mask is None or (mask.ndim == 3 and mask.is_floating_point())
    fits &= draws is None or draws.shape == samples.shape[:1]
    if not fits:
        raise ModelFileError(f"{path.name}: its mask or draws do not fit its latents")
    index = None if draws is None else tuple(int(draw) for draw in draws)
    return Latent(samples, mask, index, read_latent_family(path))
