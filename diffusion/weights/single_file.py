"""Model files: detect the networks of a file and their family from its keys and shapes alone.

A file may be a whole checkpoint or one of its networks, with the original code's or diffusers'
names. No torch here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ModelFileError
from ..families.family import FAMILY_BY_TEXT_DIM, REFINER, SD21, SDXL, Family, family_for
from ..families.stored import StoredNetwork, TensorInfos, rename_infos
from ..families.unet_keys import SIZE_DIM, map_unet_keys, read_unet_config
from .file_cache import cache_while_unchanged
from .headers import read_floats, read_tensor_infos
from .language_keys import find_language_models
from .text_keys import StoredTextEncoder, find_text_encoders
from .vae_keys import map_vae_keys, read_vae_config

UNET_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "unet.", "")
VAE_PREFIXES = ("first_stage_model.", "vae.", "")
# The spread of these biases is the only difference between SD2.1 with v and with eps prediction.
SD21_BIAS = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"
MIN_V_SPREAD = 0.09
# Empty tensors that mark SDXL files with v prediction, and with zero terminal SNR.
V_MARK, ZSNR_MARK = "v_pred", "ztsnr"
# The range of sigmas of CosXL, which takes any of them.
SIGMA_MIN, SIGMA_MAX, DEFAULT_SIGMA_MIN = "edm_vpred.sigma_min", "edm_vpred.sigma_max", 0.002
# A mark of Playground 2.5, whose latents are normalized by channel.
NORMALIZED_MARK = "edm_mean"
# Numbers that SDXL's refiner takes: image size, crop position and aesthetic score.
SCORE_NUMBERS = 5
IN_CHANNELS = (4, 8, 9)


@dataclass(frozen=True)
class ModelContents:
    """The networks of a file.

    Attributes:
        family: of its denoising network, else of its text encoders; None if it has neither.
    """

    unet: StoredNetwork | None
    text_encoders: tuple[StoredTextEncoder, ...]
    vae: StoredNetwork | None
    family: Family | None


@cache_while_unchanged(maxsize=64)
def read_contents(path: Path) -> ModelContents:
    """Detect the networks of a file; the result is cached while the file stays unchanged.

    Raises:
        ModelFileError: it is not a complete weight file, or holds an unsupported network.
    """
    infos = read_tensor_infos(path)
    try:
        unet, vae = find_unet(infos), find_vae(infos)
        text_encoders = (*find_text_encoders(infos), *find_language_models(infos))
    except ModelFileError as error:
        raise ModelFileError(f"{path.name}: {error}") from error
    width = sum(text_encoder.width for text_encoder in text_encoders)
    if unet is None:
        clips = [encoder for encoder in text_encoders if encoder.is_clip]
        family = family_for(width) if clips == [*text_encoders] != [] else None
        return ModelContents(unet, text_encoders, vae, family)
    family = _unet_family(path, infos, unet, text_encoders)
    if text_encoders and width != family.text_dim:
        expected = f"width {family.text_dim} as in family {family.name}"
        raise ModelFileError(f"{path.name}: text encoding: expected {expected}, got {width}")
    return ModelContents(unet, text_encoders, vae, family)


def read_checkpoint(path: Path) -> ModelContents:
    """Detect the networks of a file with at least a denoising network.

    Raises:
        ModelFileError: it has none, or cannot be read.
    """
    contents = read_contents(path)
    if contents.unet is None:
        raise ModelFileError(f"{path.name} holds no denoising network of Stable Diffusion")
    return contents


def detect_file_family(path: Path) -> Family:
    """Return the family of a checkpoint in one file."""
    family = read_checkpoint(path).family
    assert family is not None
    return family


def find_unet(infos: TensorInfos) -> StoredNetwork | None:
    """Return the denoising network of a file; None if it has none."""
    for prefix in UNET_PREFIXES:
        if _has_keys(infos, prefix, "input_blocks.0.0.weight", "out.2.weight"):
            names = map_unet_keys(infos, prefix)
        elif _has_keys(
            infos, prefix, "conv_in.weight", "conv_out.weight", "mid_block.resnets.0.norm1.weight"
        ):
            names = {name: name.removeprefix(prefix) for name in infos if name.startswith(prefix)}
        else:
            continue
        return StoredNetwork(read_unet_config(rename_infos(infos, names)), names)
    return None


def find_vae(infos: TensorInfos) -> StoredNetwork | None:
    """Return the autoencoder of a file; None if it has none."""
    for prefix in VAE_PREFIXES:
        if _has_keys(infos, prefix, "encoder.conv_in.weight", "decoder.conv_in.weight"):
            names = map_vae_keys(infos, prefix)
            return StoredNetwork(read_vae_config(rename_infos(infos, names)), names)
    return None


def _has_keys(infos: TensorInfos, prefix: str, *names: str) -> bool:
    return all(prefix + name in infos for name in names)


def _unet_family(
    path: Path,
    infos: TensorInfos,
    unet: StoredNetwork,
    text_encoders: tuple[StoredTextEncoder, ...],
) -> Family:
    """Return the family of a denoising network by its shape."""
    width, channels = unet.config["cross_attention_dim"], unet.config["in_channels"]
    family = family_for(width)
    if channels not in IN_CHANNELS:
        known = ", ".join(map(str, IN_CHANNELS))
        raise ModelFileError(
            f"{path.name}: input channels: expected one of {known}, got {channels}"
        )
    vector = unet.config.get("projection_class_embeddings_input_dim")
    if width not in FAMILY_BY_TEXT_DIM and vector is not None:
        similar = _family_with_size_inputs(vector, text_encoders)
        family = replace(similar, name=family.name, text_dim=width)
    if (vector is None) != (family.size_inputs == "none"):
        raise ModelFileError(
            f"{path.name}: its network takes other extra conditioning than family {family.name}"
        )
    family = replace(family, in_channels=channels)
    if NORMALIZED_MARK in infos:
        raise ModelFileError(f"{path.name}: models like Playground 2.5 are not supported")
    if SIGMA_MAX in infos:
        low = _read_sigma(path, SIGMA_MIN) if SIGMA_MIN in infos else DEFAULT_SIGMA_MIN
        return replace(family, prediction="v", sigma_range=(low, _read_sigma(path, SIGMA_MAX)))
    if V_MARK in infos:
        return replace(family, prediction="v", zsnr=ZSNR_MARK in infos)
    if family.name == SD21.name and channels == 4 and _is_sd21_v(path, unet):
        return replace(family, prediction="v", native_size=768)
    return family


def _family_with_size_inputs(vector: int, text_encoders: tuple[StoredTextEncoder, ...]) -> Family:
    """Return SDXL or its refiner, whichever takes as many numbers next to the pooled encoding."""
    pooled = text_encoders[-1].width if text_encoders else 0
    return REFINER if vector - pooled == SCORE_NUMBERS * SIZE_DIM else SDXL


def _read_sigma(path: Path, name: str) -> float:
    numbers = read_floats(path, name)
    if len(numbers) != 1 or not 0 < numbers[0] < math.inf:
        raise ModelFileError(f"{path.name}: {name} is not a sigma")
    return numbers[0]


def _is_sd21_v(path: Path, unet: StoredNetwork) -> bool:
    """Return True for SD2.1 weights with v prediction."""
    for theirs, ours in unet.names.items():
        if ours == SD21_BIAS:
            numbers = read_floats(path, theirs)
            mean = sum(numbers) / len(numbers)
            variance = sum((number - mean) ** 2 for number in numbers) / len(numbers)
            return variance > MIN_V_SPREAD**2
    return False
