"""TAESD: a tiny autoencoder for drafts and previews, in two files. No torch here.

Its files in `models/vae_approx` are `taesd_encoder.safetensors` and `taesd_decoder.safetensors`,
or both as `.pth`; those for SDXL are named `taesdxl_...`. The model name `taesd` means both files.
Source: github.com/madebyollin/taesd, which numbers the layers; diffusers has the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ModelFileError
from ..families.family import Family
from ..families.stored import ParameterSizes, StoredNetwork
from ..families.table import FAMILIES
from .headers import read_tensor_infos
from .parameters import check_parameters, tiny_decoder_sizes, tiny_encoder_sizes

if TYPE_CHECKING:
    from diffusers import AutoencoderTiny

FOLDER = "vae_approx"
FAMILY_BY_TINY_VAE = {
    family.space.tiny_vae: family for family in reversed(FAMILIES) if family.space.tiny_vae
}
EXTENSIONS = (".safetensors", ".pth")
# TAESD counts the activation before the decoder as its first layer, diffusers does not.
FIRST_LAYERS = {"encoder": 0, "decoder": 1}
SIZES: Mapping[str, ParameterSizes] = {"encoder": tiny_encoder_sizes, "decoder": tiny_decoder_sizes}


class TinyVaeFiles(NamedTuple):
    """The two files of a TAESD, and its name."""

    name: str
    encoder: Path
    decoder: Path

    @property
    def family(self) -> Family:
        """The family whose latents it encodes and decodes."""
        return FAMILY_BY_TINY_VAE[self.name]


def list_tiny_vaes(folder: Path) -> Iterator[TinyVaeFiles]:
    """Yield those of a folder that have both files."""
    for name in FAMILY_BY_TINY_VAE:
        for extension in EXTENSIONS:
            paths = (folder / f"{name}_{side}{extension}" for side in FIRST_LAYERS)
            files = TinyVaeFiles(name, *paths)
            if files.encoder.is_file() and files.decoder.is_file():
                yield files
                break


def find_tiny_vae_files(encoder: Path) -> TinyVaeFiles | None:
    """Return both files of a TAESD, given the encoder's; None for any other file."""
    tiny_vaes = list_tiny_vaes(encoder.parent)
    return next((files for files in tiny_vaes if files.encoder == encoder), None)


def check_tiny_vae(files: TinyVaeFiles) -> None:
    """Check from their headers that both files hold their network.

    Raises:
        ModelFileError: one does not, or a weight is missing, unknown or of another size.
    """
    for path, side, channels in ((files.encoder, "encoder", 3), (files.decoder, "decoder", 4)):
        infos, first = read_tensor_infos(path), FIRST_LAYERS[side]
        info = infos.get(f"{first}.weight")
        if info is None or info.shape[1:] != (channels, 3, 3):
            raise ModelFileError(f"{path.name} holds no {side} of TAESD")
        names = {key: _parameter(key, first) for key in infos}
        check_parameters(path, StoredNetwork({}, names), SIZES[side])


def _parameter(key: str, first: int) -> str:
    """Return diffusers' name of a key in a file whose first layer has this number."""
    number, _, parameter = key.partition(".")
    return f"{int(number) - first}.{parameter}" if number.isdecimal() else key


def read_tiny_vae(files: TinyVaeFiles) -> AutoencoderTiny:
    """Return the network with the weights of both files, in float32.

    Raises:
        ModelFileError: weights are missing, unknown or of another shape.
    """
    from diffusers import AutoencoderTiny

    from .weight_file import load_weights

    check_tiny_vae(files)
    weights = {}
    for side, first in FIRST_LAYERS.items():
        path = files.encoder if side == "encoder" else files.decoder
        for key, value in load_weights(path).items():
            weights[f"{side}.layers.{_parameter(key, first)}"] = value.float()
    network = AutoencoderTiny()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:  # the sizes are right, and the shapes are not
        raise ModelFileError(f"{files.name} cannot be used: {error}") from error
    return network
