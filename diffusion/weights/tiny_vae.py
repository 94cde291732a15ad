"""TAESD: a tiny autoencoder for drafts and previews, in two files. No torch here.

Its files in `models/vae_approx` are `taesd_encoder.safetensors` and `taesd_decoder.safetensors`,
or both as `.pth`; those for SDXL are named `taesdxl_...`. The model name `taesd` means both files.
Source: github.com/madebyollin/taesd, which numbers the layers; diffusers has the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ModelFileError
from ..families.family import SD15, SDXL, Family
from .headers import read_tensor_infos

if TYPE_CHECKING:
    from diffusers import AutoencoderTiny

FOLDER = "vae_approx"
FAMILIES = {"taesd": SD15, "taesdxl": SDXL}
EXTENSIONS = (".safetensors", ".pth")
# TAESD counts the activation before the decoder as its first layer, diffusers does not.
FIRST_LAYERS = {"encoder": 0, "decoder": 1}


class TinyVaeFiles(NamedTuple):
    """The two files of a TAESD, and its name."""

    name: str
    encoder: Path
    decoder: Path

    @property
    def family(self) -> Family:
        """The family whose latents it encodes and decodes."""
        return FAMILIES[self.name]


def list_tiny_vaes(folder: Path) -> Iterator[TinyVaeFiles]:
    """Yield those of a folder that have both files."""
    for name in FAMILIES:
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
        ModelFileError: one does not.
    """
    for path, side, channels in ((files.encoder, "encoder", 3), (files.decoder, "decoder", 4)):
        info = read_tensor_infos(path).get(f"{FIRST_LAYERS[side]}.weight")
        if info is None or info.shape[1:] != (channels, 3, 3):
            raise ModelFileError(f"{path.name} holds no {side} of TAESD")


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
        for name, value in load_weights(path).items():
            number, _, parameter = name.partition(".")
            if not number.isdecimal():
                raise ModelFileError(f"the {side} of {files.name} has unknown weights: {name}")
            weights[f"{side}.layers.{int(number) - first}.{parameter}"] = value.float()
    network = AutoencoderTiny()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelFileError(f"{files.name} is incomplete: {error}") from error
    return network
