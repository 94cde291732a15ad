"""TAESD: a tiny autoencoder for drafts and previews, its halves in two files. No torch here.

The halves lie in `models/vae_approx` as `taesd_encoder.safetensors` and
`taesd_decoder.safetensors`, or both as `.pth`, those for SDXL as `taesdxl_...`; `taesd` names both
at once.
Source: github.com/madebyollin/taesd, whose layers are numbered through; diffusers has the network.
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
# The decoder counts the bend of its input as its first layer, diffusers does not.
FIRST_LAYERS = {"encoder": 0, "decoder": 1}


class TinyVaeFiles(NamedTuple):
    """The files of one, and what it goes by."""

    name: str
    encoder: Path
    decoder: Path

    @property
    def family(self) -> Family:
        """Whose latents it reads and writes."""
        return FAMILIES[self.name]


def list_tiny_vaes(folder: Path) -> Iterator[TinyVaeFiles]:
    """Those of a folder that have both halves."""
    for name in FAMILIES:
        for extension in EXTENSIONS:
            halves = (folder / f"{name}_{side}{extension}" for side in FIRST_LAYERS)
            found = TinyVaeFiles(name, *halves)
            if found.encoder.is_file() and found.decoder.is_file():
                yield found
                break


def find_tiny_vae_files(encoder: Path) -> TinyVaeFiles | None:
    """Both halves, by the file of the first; None where it is no such file."""
    return next((each for each in list_tiny_vaes(encoder.parent) if each.encoder == encoder), None)


def check_tiny_vae(halves: TinyVaeFiles) -> None:
    """Whether both files hold what they should; from their headers alone.

    Raises:
        ModelFileError: one does not.
    """
    for path, side, channels in ((halves.encoder, "encoder", 3), (halves.decoder, "decoder", 4)):
        head = read_tensor_infos(path).get(f"{FIRST_LAYERS[side]}.weight")
        if head is None or head.shape[1:] != (channels, 3, 3):
            raise ModelFileError(f"{path.name} holds no {side} of TAESD")


def read_tiny_vae(halves: TinyVaeFiles) -> AutoencoderTiny:
    """The network with the weights of both files, float32.

    Raises:
        ModelFileError: weights are missing, unknown or of another shape.
    """
    from diffusers import AutoencoderTiny

    from .weight_file import load_weights

    check_tiny_vae(halves)
    weights = {}
    for side, first in FIRST_LAYERS.items():
        path = halves.encoder if side == "encoder" else halves.decoder
        for name, value in load_weights(path).items():
            number, _, rest = name.partition(".")
            if not number.isdecimal():
                raise ModelFileError(f"the {side} of {halves.name} has the unknown weights {name}")
            weights[f"{side}.layers.{int(number) - first}.{rest}"] = value.float()
    network = AutoencoderTiny()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelFileError(f"{halves.name} is not whole: {error}") from error
    return network
