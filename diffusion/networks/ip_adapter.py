"""IP-Adapters: images as prompts, through additional attention layers.

Source: Ye et al., "IP-Adapter" (arXiv 2308.06721).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ModelFileError
from ..families.family import Family
from ..families.stored import TensorInfos
from ..families.table import family_for
from ..weights.headers import read_tensor_infos
from ..weights.weight_file import load_weights
from . import devices
from .clip_vision import ClipVision, encode_blank, encode_image
from .finite import check_finite
from .handles import NetworkHandle
from .network_files import load_shared
from .residency import retry_when_out_of_memory
from .weights import Weights

PROJECTION, LAYERS = "image_proj.", "ip_adapter."
KEY, VALUE = ".to_k_ip.weight", ".to_v_ip.weight"
PLAIN, FULL, PLUS = "proj.weight", "proj.3.weight", "latents"


class AdapterLayout(NamedTuple):
    """The layout of an adapter's file.

    Attributes:
        layers: the numbers of its attention layers, in order.
        text_dim: width of the text encoding of its models.
        uses_patches: it takes the image encoder's patches, not only the image's vector.
    """

    layers: tuple[int, ...]
    text_dim: int
    uses_patches: bool


class AdapterNet(nn.Module):
    """A projection of images to tokens, and a key and a value matrix for each layer."""

    def __init__(self, projection: nn.Module, keys: list[Tensor], values: list[Tensor]) -> None:
        super().__init__()
        self.projection = projection
        self.keys = nn.ParameterList(keys)
        self.values = nn.ParameterList(values)


class AdapterWeights(Weights):
    """An IP-Adapter's network."""

    module: AdapterNet


@dataclass(frozen=True, eq=False)
class IpAdapter(NetworkHandle):
    """An IP-Adapter as it travels on edges."""

    weights: AdapterWeights
    family: Family
    uses_patches: bool


class ImageTokens(NamedTuple):
    """Image tokens 1×n×d for the positive side, and those of a blank image for the negative."""

    positive: Tensor
    negative: Tensor


def read_adapter_layout(path: Path) -> AdapterLayout:
    """Read the header of an adapter's file.

    Raises:
        ModelFileError: it is corrupt, unsafe, or not an IP-Adapter for images.
    """
    infos = read_tensor_infos(path)
    kinds = [kind for kind in (PLAIN, FULL, PLUS) if f"{PROJECTION}{kind}" in infos]
    layers = _layer_numbers(infos)
    if len(kinds) != 1 or not layers:
        raise ModelFileError(f"{path.name} is not an IP-Adapter for images")
    text_dim = infos[f"{LAYERS}{layers[0]}{KEY}"].shape[-1]
    return AdapterLayout(layers, text_dim, kinds[0] != PLAIN)


def _layer_numbers(infos: TensorInfos) -> tuple[int, ...]:
    keys, values = (
        {
            name[len(LAYERS) : -len(suffix)]
            for name in infos
            if name.startswith(LAYERS) and name.endswith(suffix)
        }
        for suffix in (KEY, VALUE)
    )
    if keys != values or not all(number.isdigit() for number in keys):
        return ()
    return tuple(sorted(int(number) for number in keys))


def read_adapter_family(path: Path) -> Family:
    """Read the family of the models that an adapter is for.

    Raises:
        ModelFileError: as `read_adapter_layout`.
    """
    return family_for(read_adapter_layout(path).text_dim)


def check_ip_adapter(path: Path) -> None:
    """Check from its header that an adapter's file can be loaded.

    Raises:
        ModelFileError: as `load_ip_adapter`.
    """
    read_adapter_layout(path)
    infos = read_tensor_infos(path)
    with torch.device("meta"):  # shapes without data
        _make_projection(path, {name: torch.empty(infos[name].shape) for name in infos})


def load_ip_adapter(path: Path) -> IpAdapter:
    """Load an IP-Adapter from a file; weights in use already are shared.

    Raises:
        ModelFileError: it is corrupt, unsafe, or not an IP-Adapter for images.
    """
    layout = read_adapter_layout(path)

    def make(digest: str) -> AdapterWeights:
        dtype = devices.network_dtype()
        tensors = {name: tensor.to(dtype) for name, tensor in load_weights(path).items()}
        keys, values = (
            [tensors[f"{LAYERS}{number}{suffix}"] for number in layout.layers]
            for suffix in (KEY, VALUE)
        )
        net = AdapterNet(_make_projection(path, tensors), keys, values)
        return AdapterWeights(net.to(devices.device()), digest)

    weights = load_shared("ip_adapter", make, path)
    return IpAdapter(weights, family_for(layout.text_dim), layout.uses_patches)


def _make_projection(path: Path, tensors: dict[str, Tensor]) -> nn.Module:
    """Build diffusers' module for a projection; diffusers converts the keys of each variant."""
    from diffusers.loaders.unet import UNet2DConditionLoadersMixin

    own = {
        name.removeprefix(PROJECTION): tensor
        for name, tensor in tensors.items()
        if name.startswith(PROJECTION)
    }
    convert: Any = UNet2DConditionLoadersMixin()._convert_ip_adapter_image_proj_to_diffusers
    try:
        projection: nn.Module = convert(own, low_cpu_mem_usage=False)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path.name}: its projection cannot be read: {error}") from error
    return projection.to(devices.network_dtype())


def encode_image_tokens(
    adapter: IpAdapter, vision: ClipVision, image: Tensor, average: bool = False
) -> ImageTokens:
    """Encode images B×H×W×C to tokens for attention.

    Args:
        average: average the images into one prompt; otherwise their tokens are concatenated.

    Raises:
        ModelFileError: the adapter was trained on another image encoder.
    """
    output = encode_image(vision, image)
    vectors = output.patches if adapter.uses_patches else output.embeds
    if average:
        vectors = vectors.mean(0, keepdim=True)
    uses_patches = adapter.uses_patches
    blank = encode_blank(vision).patches if uses_patches else torch.zeros_like(vectors[:1])
    try:
        positive, negative = _project(adapter, vectors), _project(adapter, blank)
    except RuntimeError as error:
        raise ModelFileError(
            f"the adapter was trained on another image encoder: {error}"
        ) from error
    return ImageTokens(positive, negative.repeat(1, positive.shape[1] // negative.shape[1], 1))


def _project(adapter: IpAdapter, vectors: Tensor) -> Tensor:
    """Project encoded images to tokens 1×n×d, those of all images concatenated."""
    weights = adapter.weights

    def project() -> Tensor:
        with weights.use():
            tokens: Tensor = weights.module.projection(vectors.to(weights.device, weights.dtype))
        check_finite("the IP-Adapter", tokens)
        return tokens.reshape(1, -1, tokens.shape[-1]).float().cpu().clone()

    return retry_when_out_of_memory(project)
