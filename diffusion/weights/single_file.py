"""Model files: detect the networks of a file and their family from its keys and shapes alone.

A file may be a whole checkpoint or one of its networks, with the original code's or diffusers'
names. No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import ModelFileError
from ..families.family import Family, NetworkFile
from ..families.stored import StoredNetwork, TensorInfos, has_keys, rename_infos
from ..families.table import family_for, find_network, recognize
from .file_cache import cache_while_unchanged
from .headers import read_floats, read_tensor_infos
from .language_keys import find_language_models
from .text_keys import StoredTextEncoder, find_text_encoders
from .vae_keys import map_vae_keys, read_vae_config
from .video_vae_keys import find_video_vae

VAE_PREFIXES = ("first_stage_model.", "vae.", "")


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
        network, vae = find_network(infos), find_vae(infos)
        text_encoders = (*find_text_encoders(infos), *find_language_models(infos))
    except ModelFileError as error:
        raise ModelFileError(f"{path.name}: {error}") from error
    widths = tuple(text_encoder.width for text_encoder in text_encoders)
    if network is None:
        clips = [encoder for encoder in text_encoders if encoder.is_clip]
        family = family_for(sum(widths)) if clips == [*text_encoders] != [] else None
        return ModelContents(None, text_encoders, vae, family)
    file = NetworkFile(path.name, infos, network.network, widths, partial(read_floats, path))
    family = recognize(network.architecture, file)
    return ModelContents(network.network, text_encoders, vae, family)


def read_checkpoint(path: Path) -> ModelContents:
    """Detect the networks of a file with at least a denoising network.

    Raises:
        ModelFileError: it has none, or cannot be read.
    """
    contents = read_contents(path)
    if contents.unet is None:
        raise ModelFileError(f"{path.name} holds no denoising network of a known family")
    return contents


def detect_file_family(path: Path) -> Family:
    """Return the family of a checkpoint in one file."""
    family = read_checkpoint(path).family
    assert family is not None
    return family


def find_vae(infos: TensorInfos) -> StoredNetwork | None:
    """Return the autoencoder of a file; None if it has none."""
    video_vae = find_video_vae(infos)
    if video_vae is not None:
        return video_vae
    for prefix in VAE_PREFIXES:
        if has_keys(infos, prefix, "encoder.conv_in.weight", "decoder.conv_in.weight"):
            names = map_vae_keys(infos, prefix)
            return StoredNetwork(read_vae_config(rename_infos(infos, names)), names)
    return None
