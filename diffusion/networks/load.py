"""Load models from diffusers folders and single files into handles."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..errors import ModelFileError
from ..families.family import Architecture, Family
from ..schedules.flow import FlowSampling, FluxSampling
from ..schedules.model_sampling import ContinuousSampling, ModelSampling
from ..text.recipes import recipe_of
from ..weights.detect import (
    check_checkpoint,
    check_vae,
    detect_checkpoint_family,
    detect_vae_family,
    read_noise_schedule,
)
from ..weights.missing_part import AUTOENCODER, TEXT_ENCODER
from ..weights.single_file import ModelContents, read_checkpoint, read_contents
from ..weights.text_keys import KIND_NAMES
from ..weights.tiny_vae import TinyVaeFiles, find_tiny_vae_files, read_tiny_vae
from . import devices
from .handles import Clip, Model, Vae
from .load_text import load_text_files, load_text_folders
from .narrow import compute_wide
from .network_files import load_network_file, load_network_folder, load_shared
from .weights import TextWeights, TinyVaeWeights, UNetWeights, VaeWeights, VideoVaeWeights

STORED = {
    "default": None,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}


class Checkpoint(NamedTuple):
    """The three parts of a checkpoint; using one that it lacks raises an error."""

    model: Model
    clip: Clip
    vae: Vae


def load_checkpoint(path: Path) -> Checkpoint:
    """Load the parts of a diffusers folder or a single file; weights in use already are shared.

    Raises:
        ModelFileError: it is incomplete, unsafe, corrupt, or of an unknown family.
    """
    check_checkpoint(path)
    if path.is_file():
        return _load_checkpoint_file(path)
    family = detect_checkpoint_family(path)
    model = Model(
        _load_unet_folder(path, family.architecture),
        family,
        ModelSampling(**asdict(read_noise_schedule(path))),
    )
    return Checkpoint(model, Clip(load_text_folders(path, family), family), load_vae(path / "vae"))


def load_unet(path: Path, stored: str = "default") -> Model:
    """Load the denoising network of a file.

    Args:
        stored: an 8-bit type that the weights are rounded to, as if they were stored in it.

    Raises:
        ModelFileError: it is corrupt, or has no denoising network.
    """
    contents, family = read_checkpoint(path), detect_checkpoint_family(path)
    return Model(_load_unet_file(path, contents, STORED[stored]), family, make_sampling(family))


def load_vae(path: Path) -> Vae:
    """Load the autoencoder of a diffusers folder or of a file.

    Raises:
        ModelFileError: it is incomplete, unsafe or corrupt, or the file has no autoencoder.
    """
    check_vae(path)
    family, tiny_files = detect_vae_family(path), find_tiny_vae_files(path)
    if tiny_files is not None:
        return Vae(_load_tiny_vae(tiny_files), family)
    if path.is_file():
        return Vae(_load_vae_file(path, read_contents(path)), family)

    def make(digest: str) -> VaeWeights:
        from diffusers import AutoencoderKL

        return VaeWeights(load_network_folder(AutoencoderKL, path, devices.vae_dtype()), digest)

    return Vae(load_shared("vae", make, path), family)


def _load_checkpoint_file(path: Path) -> Checkpoint:
    contents, family = read_checkpoint(path), detect_checkpoint_family(path)
    text_encoders: TextWeights = TEXT_ENCODER.placeholder(path)
    recipe = recipe_of(family.name)
    if contents.text_encoders:
        kinds = [stored.kind for stored in contents.text_encoders]
        if not recipe.has(kinds):
            expected = " and ".join(KIND_NAMES[kind] for kind in recipe.kinds)
            got = " and ".join(KIND_NAMES[kind] for kind in kinds)
            raise ModelFileError(f"{path.name}: text encoders: expected {expected}, got {got}")
        text_encoders = load_text_files(
            [(path, stored) for stored in contents.text_encoders], family, recipe=recipe
        )
    vae: VaeWeights = AUTOENCODER.placeholder(path)
    if contents.vae is not None:
        vae = _load_vae_file(path, contents)
    model = Model(_load_unet_file(path, contents), family, make_sampling(family))
    return Checkpoint(model, Clip(text_encoders, family, recipe=recipe), Vae(vae, family))


def make_sampling(family: Family) -> ModelSampling:
    """Return the noise schedule of a family."""
    if family.sigma_range is not None:
        low, high = family.sigma_range
        return ContinuousSampling(family.prediction, low=low, high=high)
    if family.flow is not None:
        flow = family.flow
        kind = FluxSampling if flow.is_flux else FlowSampling
        return kind(shift=flow.shift, multiplier=flow.multiplier, timesteps=flow.timesteps)
    return ModelSampling(family.prediction, family.zsnr)


def _load_unet_file(
    path: Path, contents: ModelContents, stored: torch.dtype | None = None
) -> UNetWeights:
    def make(digest: str) -> UNetWeights:
        part, family = contents.unet, contents.family
        assert part is not None
        assert family is not None
        build = partial(network_class(family.architecture), **part.config)
        is_narrow = family.architecture.is_narrow
        dtype = devices.wide_dtype() if is_narrow else devices.network_dtype()
        module = load_network_file(path, part, build, dtype, stored, is_narrow=is_narrow)
        if is_narrow:
            compute_wide(module)
        digest = f"{digest}{stored or ''}"
        return UNetWeights(module, digest, architecture=family.architecture)

    return load_shared(f"unet {stored or ''}", make, path)


def _load_vae_file(path: Path, contents: ModelContents) -> VaeWeights:
    def make(digest: str) -> VaeWeights:
        import diffusers

        part = contents.vae
        assert part is not None
        build = partial(getattr(diffusers, part.class_name or "AutoencoderKL"), **part.config)
        module = load_network_file(path, part, build, devices.vae_dtype())
        return VideoVaeWeights(module, digest) if part.class_name else VaeWeights(module, digest)

    return load_shared("vae", make, path)


def _load_tiny_vae(files: TinyVaeFiles) -> VaeWeights:
    def make(digest: str) -> VaeWeights:
        return TinyVaeWeights(read_tiny_vae(files), f"{digest}{files.name}", files.family)

    return load_shared(files.name, make, files.encoder, files.decoder)


def network_class(architecture: Architecture) -> Any:
    """Return diffusers' class of a family's networks."""
    import diffusers

    return getattr(diffusers, architecture.class_name)


def _load_unet_folder(path: Path, architecture: Architecture) -> UNetWeights:
    folder = path / architecture.folder

    def make(digest: str) -> UNetWeights:
        kind = network_class(architecture)
        module = load_network_folder(kind, folder, devices.network_dtype())
        return UNetWeights(module, digest, architecture=architecture)

    return load_shared("unet", make, folder)
