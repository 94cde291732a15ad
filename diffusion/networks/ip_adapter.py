"""IP-Adapters: images as prompts, through attention layers of their own.

Source: Ye et al., "IP-Adapter" (arXiv 2308.06721).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ModelFileError
from ..families.family import Family, family_for
from ..weights.headers import read_tensor_infos
from ..weights.keys import TensorInfos
from ..weights.weight_file import load_weights
from . import devices
from .clip_vision import ClipVision, encode_blank, encode_image
from .handles import NetworkHandle, Weights
from .network_files import load_shared
from .residency import retry_when_out_of_memory

PROJECTION, LAYERS = "image_proj.", "ip_adapter."
PLAIN, FULL, PLUS = "proj.weight", "proj.3.weight", "latents"


class Plan(NamedTuple):
    """What the keys of a file say.

    Attributes:
        layers: the numbers of its attention layers, in order.
        width: of the text encoding of its models.
        patches: it looks at patches of the image, not at the whole alone.
    """

    layers: tuple[int, ...]
    width: int
    patches: bool


class AdapterNet(nn.Module):
    """The projection of images to tokens, and a key and a value matrix for each layer."""

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
    patches: bool


class ImageTokens(NamedTuple):
    """Images as tokens 1×n×d: what to show, and what no image gives."""

    positive: Tensor
    negative: Tensor


def read_adapter_layout(path: Path) -> Plan:
    """What a file holds, from its header.

    Raises:
        ModelFileError: it is damaged, unsafe, or no IP-Adapter for images.
    """
    heads = read_tensor_infos(path)
    kinds = [kind for kind in (PLAIN, FULL, PLUS) if f"{PROJECTION}{kind}" in heads]
    numbers = _layers(heads)
    if len(kinds) != 1 or not numbers:
        raise ModelFileError(f"{path.name} holds no IP-Adapter for images")
    widths = {heads[f"{LAYERS}{numbers[0]}.to_k_ip.weight"].shape[-1]}
    return Plan(numbers, widths.pop(), kinds[0] != PLAIN)


def _layers(heads: TensorInfos) -> tuple[int, ...]:
    ends = (".to_k_ip.weight", ".to_v_ip.weight")
    found = [{name[len(LAYERS) : -len(end)] for name in heads if _lies(name, end)} for end in ends]
    if found[0] != found[1] or not all(number.isdigit() for number in found[0]):
        return ()
    return tuple(sorted(int(number) for number in found[0]))


def _lies(name: str, end: str) -> bool:
    return name.startswith(LAYERS) and name.endswith(end)


def read_adapter_family(path: Path) -> Family:
    """The family of the models that an adapter is for.

    Raises:
        ModelFileError: as `read_adapter_layout`.
    """
    return family_for(read_adapter_layout(path).width)


def load_ip_adapter(path: Path) -> IpAdapter:
    """An IP-Adapter from a file; weights in use already are shared.

    Raises:
        ModelFileError: it is damaged, unsafe, or no IP-Adapter for images.
    """
    plan = read_adapter_layout(path)

    def make(digest: str) -> AdapterWeights:
        tensors = {
            name: each.to(devices.network_dtype()) for name, each in load_weights(path).items()
        }
        matrices = [
            [tensors[f"{LAYERS}{number}.{kind}.weight"] for number in plan.layers]
            for kind in ("to_k_ip", "to_v_ip")
        ]
        net = AdapterNet(_projection(path, tensors), *matrices)
        return AdapterWeights(net.to(devices.device()), digest)

    return IpAdapter(load_shared("ip_adapter", make, path), family_for(plan.width), plan.patches)


def _projection(path: Path, tensors: dict[str, Tensor]) -> nn.Module:
    """diffusers' module for this file's projection, which knows each variant's keys."""
    from diffusers.loaders.unet import UNet2DConditionLoadersMixin

    own = {
        name.removeprefix(PROJECTION): each
        for name, each in tensors.items()
        if name.startswith(PROJECTION)
    }
    convert: Any = UNet2DConditionLoadersMixin()._convert_ip_adapter_image_proj_to_diffusers
    try:
        found: nn.Module = convert(own, low_cpu_mem_usage=False)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelFileError(f"{path.name}: its projection cannot be read: {error}") from error
    return found.to(devices.network_dtype())


def encode_image_tokens(
    adapter: IpAdapter, vision: ClipVision, image: Tensor, average: bool = False
) -> ImageTokens:
    """Images B×H×W×C as tokens for attention.

    Args:
        average: one prompt of what the images have in common; otherwise their tokens follow
            one another.

    Raises:
        ModelFileError: the encoder is not the one that the adapter was trained on.
    """
    seen = encode_image(vision, image)
    given = seen.patches if adapter.patches else seen.embeds
    if average:
        given = given.mean(0, keepdim=True)
    nothing = encode_blank(vision).patches if adapter.patches else torch.zeros_like(given[:1])
    try:
        positive, negative = (_projected(adapter, each) for each in (given, nothing))
    except RuntimeError as error:
        raise ModelFileError(
            f"the adapter was trained on another image encoder: {error}"
        ) from error
    return ImageTokens(positive, negative.repeat(1, positive.shape[1] // negative.shape[1], 1))


def _projected(adapter: IpAdapter, given: Tensor) -> Tensor:
    """1×n×d, the tokens of all images one after another."""
    weights = adapter.weights

    def work() -> Tensor:
        with weights.use():
            found: Tensor = weights.module.projection(given.to(weights.device, weights.dtype))
        return found.reshape(1, -1, found.shape[-1]).float().cpu().clone()

    return retry_when_out_of_memory(work)
