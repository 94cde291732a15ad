"""The families: one row each, and questions to all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..errors import ModelFileError
from .family import Architecture, ControlArchitecture, Family, NetworkFile
from .flux import FLUX
from .flux_control import CONTROL as FLUX_CONTROL
from .other_unet import OTHER_UNET, family_of_width
from .qwen_image import QWEN_IMAGE
from .refiner import REFINER
from .sd15 import SD15
from .sd21 import SD21
from .sdxl import SDXL
from .space import SD, UNKNOWN_CHANNELS, WAN, LatentSpace, unnamed_space
from .space import SDXL as SDXL_SPACE
from .stored import StoredNetwork, TensorInfos
from .unet import unet_family
from .zimage import Z_IMAGE

# The first that recognizes a network is its family.
FAMILIES = (SD15, SD21, SDXL, REFINER, OTHER_UNET, FLUX, Z_IMAGE, QWEN_IMAGE)
ARCHITECTURES = tuple(dict.fromkeys(family.architecture for family in FAMILIES))
FAMILY_BY_NAME = {family.name: family for family in FAMILIES}
# Families of CLIP text encoders, whose joined width says which.
FAMILY_BY_TEXT_DIM = {family.text_dim: family for family in (SD15, SD21, SDXL, REFINER)}

# The autoencoder of Wan 2.1 and Qwen-Image, in a file of its own.
VIDEO_AUTOENCODER = unet_family("latent-wan21", space=WAN)
LAYOUT = re.compile(r"latent-(\d+)x(\d+)")


# ControlNets that read latents, with the family that they are for.
CONTROLS = ((FLUX_CONTROL, FLUX),)


class FoundNetwork(NamedTuple):
    """The denoising network of a file, and its class."""

    architecture: Architecture
    network: StoredNetwork


def find_network(infos: TensorInfos) -> FoundNetwork | None:
    """Return the denoising network of a file; None if it has none."""
    for architecture in ARCHITECTURES:
        network = architecture.find(infos)
        if network is not None:
            return FoundNetwork(architecture, network)
    return None


class FoundControl(NamedTuple):
    """The ControlNet of a file, its class, and the family that it is for."""

    architecture: ControlArchitecture
    network: StoredNetwork
    family: Family


def find_control(infos: TensorInfos) -> FoundControl | None:
    """Return the ControlNet of a file, if it is one that reads latents; else None.

    Raises:
        ModelFileError: it is of a kind that is not supported.
    """
    for architecture, family in CONTROLS:
        network = architecture.find(infos)
        if network is not None:
            width = network.config["joint_attention_dim"]
            return FoundControl(architecture, network, replace(family, text_dim=width))
    return None


def recognize(architecture: Architecture, file: NetworkFile) -> Family:
    """Return the family of a file's network.

    Raises:
        ModelFileError: it is none of the families that have this class of network.
    """
    for family in FAMILIES:
        result = family.recognize(file) if family.architecture is architecture else None
        if result is not None:
            return result
    raise ModelFileError(f"{file.name} holds a {architecture.class_name} of an unknown family")


def family_of_lora(widths: Mapping[str, int]) -> str | None:
    """Return the name of the family whose models a LoRA fits; None if that is not known.

    Args:
        widths: the inputs of each layer, by its name with underscores; 0 if not known.
    """
    for layer, width in widths.items():
        if width and layer.endswith("attn2_to_k"):
            return family_for(width).name
    fitting: list[Family] = []
    for family in FAMILIES:
        starts = tuple(f"{start}_" for start in family.architecture.layer_starts)
        if family.lora_width and any(
            layer.startswith(starts) and width == family.lora_width
            for layer, width in widths.items()
        ):
            fitting.append(family)
    marked = [
        family
        for family in fitting
        if any(mark in f"_{layer}" for layer in widths for mark in family.lora_marks)
    ]
    names = {family.name for family in marked or fitting}
    return names.pop() if len(names) == 1 else None


def family_for(text_dim: int) -> Family:
    """Return the family of UNets with this text width, or a new one named after it."""
    return FAMILY_BY_TEXT_DIM.get(text_dim) or family_of_width(text_dim)


def family_named(name: str) -> Family:
    """Return a family by name; for text encoders also one whose networks are not supported."""
    return FAMILY_BY_NAME.get(name) or unet_family(name)


def is_known(family: Family) -> bool:
    """Return True if the table has a row for a family."""
    return family.name in FAMILY_BY_NAME


def family_of_encoders(widths: Sequence[int]) -> Family:
    """Return the family of UNets that use CLIP text encoders of these widths together."""
    width = sum(widths)
    if len(widths) == 1 or width == SDXL.text_dim:
        return family_for(width)
    return replace(SDXL, name=f"sd-{width}", text_dim=width)


def autoencoder_family(channels: int, cell_px: int) -> Family:
    """Return the family of an autoencoder that does not say for which models it is.

    It is named after the layout of its latents.
    """
    return unet_family(f"latent-{channels}x{cell_px}", space=unnamed_space(channels, cell_px))


def scaled_space(scale: float) -> LatentSpace:
    """Return SDXL's latent space for its scale, else that of Stable Diffusion 1."""
    return SDXL_SPACE if abs(scale - SDXL_SPACE.read_scale()) < 1e-4 else SD


def space_named(family: str) -> LatentSpace:
    """Return the latent space of a family, by name; one of its own for an unknown family."""
    known = FAMILY_BY_NAME.get(family)
    if known is not None:
        return known.space
    if family == VIDEO_AUTOENCODER.name:
        return VIDEO_AUTOENCODER.space
    layout = LAYOUT.fullmatch(family)
    if layout is not None:
        return unnamed_space(int(layout[1]), int(layout[2]))
    return LatentSpace(family, channels=UNKNOWN_CHANNELS)


def share_space(first: str, second: str) -> bool:
    """Return True if latents of two families, by name, can stand for each other."""
    return space_named(first).is_like(space_named(second))
