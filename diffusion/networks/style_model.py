"""Style models (Redux): an encoded image as further tokens of a prompt.

Source: Black Forest Labs' FLUX.1 Redux (Apache 2.0); the network is diffusers' ReduxImageEncoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import ModelFileError, UnsuitableValueError
from ..families.stored import Parameters, StoredNetwork
from ..families.unet_sizes import layer_sizes
from ..weights.headers import read_tensor_infos
from ..weights.parameters import check_parameters
from . import devices
from .clip_vision import VisionOutput
from .finite import check_finite
from .handles import NetworkHandle
from .network_files import load_network_file, load_shared
from .residency import retry_when_out_of_memory
from .weights import Weights

UP, DOWN = "redux_up", "redux_down"


class StyleWeights(Weights):
    """The network of a style model."""

    def project(self, patches: Tensor) -> Tensor:
        """Return B×n×d tokens for B×n×w patches of an image encoder."""
        output: Tensor = self.module(patches.to(self.device, self.dtype)).image_embeds
        return output.float()


@dataclass(frozen=True, eq=False)
class StyleModel(NetworkHandle):
    """A style model as it travels on edges, with the width of the patches that it takes."""

    weights: StyleWeights
    width: int


def check_style_model(path: Path) -> None:
    """Check that a file is a style model that can be loaded.

    Raises:
        ModelFileError: it is not.
    """
    _read_part(path)


def load_style_model(path: Path) -> StyleModel:
    """Load a style model from a file.

    Raises:
        ModelFileError: it is corrupt, or another network.
    """
    part = _read_part(path)

    def make(digest: str) -> StyleWeights:
        from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder

        build = partial(ReduxImageEncoder, **part.config)
        return StyleWeights(load_network_file(path, part, build, devices.network_dtype()), digest)

    return StyleModel(load_shared("style_model", make, path), part.config["redux_dim"])


def make_style_tokens(style_model: StyleModel, output: VisionOutput) -> Tensor:
    """Return the tokens of encoded images as 1×n×d, one image after another.

    Raises:
        UnsuitableValueError: the image encoder is another one than the style model's.
    """
    width = output.last.shape[-1]
    if width != style_model.width:
        raise UnsuitableValueError(
            f"images encoded to vectors of {style_model.width} numbers",
            f"{width} numbers",
            "use the image encoder that the style model was trained with (SigLIP for Redux)",
        )

    def project() -> Tensor:
        with style_model.weights.use():
            tokens = style_model.weights.project(output.last)
        check_finite("the style model", tokens)
        return tokens.flatten(0, 1)[None].cpu().clone()

    return retry_when_out_of_memory(project)


def _read_part(path: Path) -> StoredNetwork:
    infos = read_tensor_infos(path)
    up, down = infos.get(f"{UP}.weight"), infos.get(f"{DOWN}.weight")
    if up is None or down is None or len(up.shape) != 2 or len(down.shape) != 2:
        raise ModelFileError(f"{path.name} is not a style model of Flux.1 (Redux)")
    config = {"redux_dim": up.shape[1], "txt_in_features": down.shape[0]}
    network = StoredNetwork(config, {name: name for name in infos})
    check_parameters(path, network, _sizes)
    return network


def _sizes(config: Mapping[str, Any]) -> Parameters:
    inner = 3 * config["txt_in_features"]
    yield from layer_sizes(UP, inner, config["redux_dim"])
    yield from layer_sizes(DOWN, config["txt_in_features"], inner)
