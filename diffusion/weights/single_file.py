"""Model files: which networks one holds, and of which family, from its keys and shapes alone.

A file may be a whole checkpoint or one network of it, in the names of the original code or of
diffusers. No torch here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ModelFileError
from ..families.family import FAMILY_BY_TEXT_DIM, REFINER, SD21, SDXL, Family, family_for
from .file_cache import cache_while_unchanged
from .headers import read_floats, read_tensor_infos
from .keys import StoredNetwork, TensorInfos, rename_infos
from .text_keys import StoredTextEncoder, find_text_encoders
from .unet_keys import SIZE_DIM, map_unet_keys, read_unet_config
from .vae_keys import map_vae_keys, read_vae_config

UNETS = ("model.diffusion_model.", "diffusion_model.", "unet.", "")
VAES = ("first_stage_model.", "vae.", "")
# SD2.1 with v-prediction has learnt wider biases here; nothing else tells it from the other.
TELLING_BIAS = "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias"
WIDE_BIAS = 0.09
# Empty tensors by which files of SDXL say that they predict velocity, and to the last level.
SAYS_V, SAYS_ZSNR = "v_pred", "ztsnr"
# Tensors by which they say that they take any noise level up to one (CosXL), or that their latents
# are normalised by channel (Playground 2.5), which is not known here.
SAYS_LOWEST, SAYS_HIGHEST, LOWEST = "edm_vpred.sigma_min", "edm_vpred.sigma_max", 0.002
SAYS_NORMALISED = "edm_mean"
SCORE_NUMBERS = 5
IN_CHANNELS = (4, 8, 9)


@dataclass(frozen=True)
class ModelContents:
    """What a file holds.

    Attributes:
        family: of its denoising network, else of its text encoders; None where neither tells.
    """

    unet: StoredNetwork | None
    text_encoders: tuple[StoredTextEncoder, ...]
    vae: StoredNetwork | None
    family: Family | None


@cache_while_unchanged(maxsize=64)
def read_contents(path: Path) -> ModelContents:
    """The networks of a file; remembered while its size and time stay.

    Raises:
        ModelFileError: it is no whole weight file, or holds a network that is not known.
    """
    heads = read_tensor_infos(path)
    try:
        unet, texts, vae = find_unet(heads), find_text_encoders(heads), find_vae(heads)
    except ModelFileError as error:
        raise ModelFileError(f"{path.name}: {error}") from error
    width = sum(each.width for each in texts)
    if unet is None:
        return ModelContents(unet, texts, vae, family_for(width) if texts else None)
    family = _unet_family(path, heads, unet, texts)
    if texts and width != family.text_dim:
        expected = f"{family.text_dim} wide, as family {family.name} wants"
        raise ModelFileError(f"{path.name}: its text encoding is {width} wide, not {expected}")
    return ModelContents(unet, texts, vae, family)


def read_checkpoint(path: Path) -> ModelContents:
    """The networks of a file that holds at least a denoising network.

    Raises:
        ModelFileError: it does not, or cannot be read.
    """
    contents = read_contents(path)
    if contents.unet is None:
        raise ModelFileError(f"{path.name} holds no denoising network of Stable Diffusion")
    return contents


def detect_file_family(path: Path) -> Family:
    """The family of a checkpoint in one file."""
    family = read_checkpoint(path).family
    assert family is not None
    return family


def find_unet(heads: TensorInfos) -> StoredNetwork | None:
    """The denoising network of a file; None where there is none."""
    for prefix in UNETS:
        if _has(heads, prefix, "input_blocks.0.0.weight", "out.2.weight"):
            names = map_unet_keys(heads, prefix)
        elif _has(
            heads, prefix, "conv_in.weight", "conv_out.weight", "mid_block.resnets.0.norm1.weight"
        ):
            names = {name: name.removeprefix(prefix) for name in heads if name.startswith(prefix)}
        else:
            continue
        return StoredNetwork(read_unet_config(rename_infos(heads, names)), names)
    return None


def find_vae(heads: TensorInfos) -> StoredNetwork | None:
    """The autoencoder of a file; None where there is none."""
    for prefix in VAES:
        if _has(heads, prefix, "encoder.conv_in.weight", "decoder.conv_in.weight"):
            names = map_vae_keys(heads, prefix)
            return StoredNetwork(read_vae_config(rename_infos(heads, names)), names)
    return None


def _has(heads: TensorInfos, prefix: str, *names: str) -> bool:
    return all(prefix + name in heads for name in names)


def _unet_family(
    path: Path, heads: TensorInfos, unet: StoredNetwork, texts: tuple[StoredTextEncoder, ...]
) -> Family:
    """The family that a denoising network's shape tells."""
    width, channels = unet.config["cross_attention_dim"], unet.config["in_channels"]
    family = family_for(width)
    if channels not in IN_CHANNELS:
        known = ", ".join(map(str, IN_CHANNELS))
        raise ModelFileError(
            f"{path.name}: its network sees {channels} channels, not one of {known}"
        )
    vector = unet.config.get("projection_class_embeddings_input_dim")
    if width not in FAMILY_BY_TEXT_DIM and vector is not None:
        family = replace(_told_alike(vector, texts), name=family.name, text_dim=width)
    if (vector is None) != (family.size_inputs == "none"):
        raise ModelFileError(
            f"{path.name}: its network is told other things than one of family {family.name}"
        )
    family = replace(family, in_channels=channels)
    if SAYS_NORMALISED in heads:
        raise ModelFileError(f"{path.name}: models like Playground 2.5 are not supported")
    if SAYS_HIGHEST in heads:
        low = _number(path, SAYS_LOWEST) if SAYS_LOWEST in heads else LOWEST
        return replace(family, prediction="v", sigma_range=(low, _number(path, SAYS_HIGHEST)))
    if SAYS_V in heads:
        return replace(family, prediction="v", zsnr=SAYS_ZSNR in heads)
    if family.name == SD21.name and channels == 4 and _has_wide_bias(path, unet):
        return replace(family, prediction="v", native_size=768)
    return family


def _told_alike(vector: int, texts: tuple[StoredTextEncoder, ...]) -> Family:
    """The known family that is told as much beside the pooled encoding as a network of none."""
    pooled = texts[-1].width if texts else 0
    return REFINER if vector - pooled == SCORE_NUMBERS * SIZE_DIM else SDXL


def _number(path: Path, name: str) -> float:
    numbers = read_floats(path, name)
    if len(numbers) != 1 or not 0 < numbers[0] < math.inf:
        raise ModelFileError(f"{path.name}: {name} is no noise level")
    return numbers[0]


def _has_wide_bias(path: Path, unet: StoredNetwork) -> bool:
    for theirs, ours in unet.names.items():
        if ours == TELLING_BIAS:
            numbers = read_floats(path, theirs)
            mean = sum(numbers) / len(numbers)
            spread = sum((number - mean) ** 2 for number in numbers) / len(numbers)
            return spread > WIDE_BIAS**2
    return False
