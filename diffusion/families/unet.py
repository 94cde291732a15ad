"""The UNet of Stable Diffusion 1 and 2 and of SDXL: keys, input channels, the call. Families of it.

Source: latent diffusion (arXiv 2112.10752); the network is diffusers' UNet2DConditionModel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ModelFileError
from .added import AddedConditioning, added_inputs, make_added_kwargs
from .family import Architecture, Family, NetworkFile
from .image_inputs import extra_channels
from .space import SD
from .stored import OriginalLayer, StoredNetwork, TensorInfos, has_keys, rename_infos
from .unet_keys import map_unet_keys, read_unet_config
from .unet_names import map_original_layers
from .unet_sizes import unet_sizes

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

LAYER_STARTS = (
    "down_blocks", "up_blocks", "mid_block", "conv_in", "conv_norm_out", "conv_out",
    "time_embedding", "add_embedding", "input_blocks", "middle_block", "output_blocks",
    "time_embed", "label_emb", "out_0", "out_2",
)  # fmt: skip
PREFIXES = ("model.diffusion_model.", "diffusion_model.", "unet.", "")
IN_CHANNELS = (4, 8, 9)
# Empty tensors that mark SDXL files with v prediction, and with zero terminal SNR.
V_MARK, ZSNR_MARK = "v_pred", "ztsnr"
# The range of sigmas of CosXL, which takes any of them.
SIGMA_MIN, SIGMA_MAX, DEFAULT_SIGMA_MIN = "edm_vpred.sigma_min", "edm_vpred.sigma_max", 0.002
# A mark of Playground 2.5, whose latents are normalized by channel.
NORMALIZED_MARK = "edm_mean"


class ControlResiduals(NamedTuple):
    """Tensors that ControlNets add to a UNet's skip connections and to its middle block."""

    skips: tuple[Tensor, ...]
    middle: Tensor

    def to(self, dtype: torch.dtype) -> ControlResiduals:
        """Return the residuals in another precision."""
        return ControlResiduals(tuple(skip.to(dtype) for skip in self.skips), self.middle.to(dtype))

    def plus(self, other: ControlResiduals) -> ControlResiduals:
        """Return the sum with another ControlNet's."""
        skips = tuple(a + b for a, b in zip(self.skips, other.skips, strict=True))
        return ControlResiduals(skips, self.middle + other.middle)

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all of them."""
        return (*self.skips, self.middle)


def find_unet(infos: TensorInfos) -> StoredNetwork | None:
    """Return the UNet of a file; None if it has none."""
    for prefix in PREFIXES:
        if has_keys(infos, prefix, "input_blocks.0.0.weight", "out.2.weight"):
            names = map_unet_keys(infos, prefix)
        elif has_keys(
            infos, prefix, "conv_in.weight", "conv_out.weight", "mid_block.resnets.0.norm1.weight"
        ):
            names = {name: name.removeprefix(prefix) for name in infos if name.startswith(prefix)}
        else:
            continue
        return StoredNetwork(read_unet_config(rename_infos(infos, names)), names)
    return None


def original_layers(layers: Iterable[str]) -> dict[str, OriginalLayer]:
    """Return our layers by the original code's name; see `Architecture`."""
    return {theirs: OriginalLayer((ours,)) for theirs, ours in map_original_layers(layers).items()}


def predict(
    module: nn.Module,
    x: Tensor,
    timestep: Tensor,
    context: Tensor,
    added: AddedConditioning | None,
    control: ControlResiduals | None,
) -> Tensor:
    """Return the raw output of a UNet; see `Architecture.predict`."""
    options: dict[str, Any] = make_added_kwargs(added, x.dtype)
    if control is not None:
        options["down_block_additional_residuals"] = list(control.skips)
        options["mid_block_additional_residual"] = control.middle
    output: Tensor = module(x, timestep, context, return_dict=False, **options)[0]
    return output


UNET = Architecture(
    class_name="UNet2DConditionModel",
    folder="unet",
    find=find_unet,
    sizes=unet_sizes,
    original_layers=original_layers,
    gather=added_inputs,
    concat=extra_channels,
    predict=predict,
    layer_starts=LAYER_STARTS,
    joins=lambda _first, _second: True,
    repeats_tokens=True,
)


def refine_family(family: Family, file: NetworkFile) -> Family:
    """Return a family with what is special about the UNet of a file.

    Raises:
        ModelFileError: the UNet takes other inputs than the family's, or is not supported.
    """
    config = file.network.config
    channels, vector = config["in_channels"], config.get("projection_class_embeddings_input_dim")
    if channels not in IN_CHANNELS:
        known = ", ".join(map(str, IN_CHANNELS))
        raise ModelFileError(
            f"{file.name}: input channels: expected one of {known}, got {channels}"
        )
    if (vector is None) != (family.size_inputs == "none"):
        raise ModelFileError(
            f"{file.name}: its network takes other extra conditioning than family {family.name}"
        )
    width = sum(file.text_widths)
    if file.text_widths and width != family.text_dim:
        expected = f"width {family.text_dim} as in family {family.name}"
        raise ModelFileError(f"{file.name}: text encoding: expected {expected}, got {width}")
    if NORMALIZED_MARK in file.infos:
        raise ModelFileError(f"{file.name}: models like Playground 2.5 are not supported")
    family = with_in_channels(family, channels)
    if SIGMA_MAX in file.infos:
        low = _read_sigma(file, SIGMA_MIN) if SIGMA_MIN in file.infos else DEFAULT_SIGMA_MIN
        return replace(family, prediction="v", sigma_range=(low, _read_sigma(file, SIGMA_MAX)))
    if V_MARK in file.infos:
        return replace(family, prediction="v", zsnr=ZSNR_MARK in file.infos)
    return family


def with_in_channels(family: Family, channels: int) -> Family:
    """Return a family for a UNet with this many input channels."""
    extra = channels - family.latent_channels
    form = "" if not extra else "edit" if extra == family.latent_channels else "inpaint"
    return replace(family, in_channels=channels, form=form)


def recognize_width(family: Family, file: NetworkFile) -> Family | None:
    """Return a family for a UNet that attends to text of the family's width; None for others."""
    is_width = file.network.config["cross_attention_dim"] == family.text_dim
    return refine_family(family, file) if is_width else None


def unet_family(name: str, **fields: Any) -> Family:
    """Return the family of a UNet that no row of the table knows, such as one made for a test."""
    own = {"space": replace(SD, name=name, tiny_vae=""), **fields}
    return Family(name, UNET, lambda _file: None, **own)


def _read_sigma(file: NetworkFile, name: str) -> float:
    numbers = file.read_floats(name)
    if len(numbers) != 1 or not 0 < numbers[0] < math.inf:
        raise ModelFileError(f"{file.name}: {name} is not a sigma")
    return numbers[0]
