"""ControlNets of Flux.1: diffusers' FluxControlNetModel, unions too, with diffusers' keys.

Their hint is the latent of the control image. A union takes the kind of its hint as a further
text token; without a kind it gets none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ModelFileError
from .family import ControlArchitecture
from .flux import FluxInputs, make_tokens
from .flux_keys import HEAD_WIDTH, flux_sizes, make_config
from .stored import Parameters, StoredNetwork, TensorInfos, has_keys

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

PREFIXES = ("", "controlnet.")
# Layers of the transformer that a ControlNet does not have.
ABSENT = ("norm_out.", "proj_out.")
MODES = "controlnet_mode_embedder.weight"


class FluxResiduals(NamedTuple):
    """Tensors that are added to the image tokens after double and after single blocks."""

    double: tuple[Tensor, ...]
    single: tuple[Tensor, ...]

    def to(self, dtype: torch.dtype) -> FluxResiduals:
        """Return the residuals in another precision."""
        return FluxResiduals(*(tuple(one.to(dtype) for one in part) for part in self))

    def plus(self, other: FluxResiduals) -> FluxResiduals:
        """Return the sum with another ControlNet's, which may have other numbers of blocks."""
        return FluxResiduals(_add(self.double, other.double), _add(self.single, other.single))

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all of them."""
        return (*self.double, *self.single)


def _add(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Add residuals that stand for equal shares of the blocks."""
    if not first or not second:
        return first or second
    count = max(len(first), len(second))
    pairs = (
        [part[index * len(part) // count] for part in (first, second)] for index in range(count)
    )
    return tuple(one + other for one, other in pairs)


def find_control(infos: TensorInfos) -> StoredNetwork | None:
    """Return the ControlNet of a file; None if it has none of Flux.1.

    Raises:
        ModelFileError: it reads pixels, which is not supported.
    """
    for prefix in PREFIXES:
        if not has_keys(
            infos, prefix, "controlnet_x_embedder.weight", "x_embedder.weight",
            "transformer_blocks.0.norm1_context.linear.weight",
        ):  # fmt: skip
            continue
        names = {name: name.removeprefix(prefix) for name in infos if name.startswith(prefix)}
        shapes = {ours: infos[theirs].shape for theirs, ours in names.items()}
        if any(name.startswith("input_hint_block.") for name in shapes):
            raise ModelFileError("ControlNets of Flux.1 that read pixels are not supported")
        config = make_config({"proj_out.weight": (0, 0), **shapes})
        del config["out_channels"]
        return StoredNetwork(config | _modes(shapes), names)
    return None


def _modes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    return {"num_mode": shapes[MODES][0]} if MODES in shapes else {}


def control_sizes(config: Mapping[str, Any]) -> Parameters:
    """Yield the name and size of each parameter of a ControlNet."""
    width = config["num_attention_heads"] * HEAD_WIDTH
    for name, size in flux_sizes({**config, "out_channels": 0}):
        if not name.startswith(ABSENT):
            yield name, size
    inputs = {"controlnet_x_embedder": config["in_channels"]}
    inputs |= {f"controlnet_blocks.{index}": width for index in range(config["num_layers"])}
    inputs |= {
        f"controlnet_single_blocks.{index}": width for index in range(config["num_single_layers"])
    }
    for name, size in inputs.items():
        yield f"{name}.weight", width * size
        yield f"{name}.bias", width
    if "num_mode" in config:
        yield MODES, config["num_mode"] * width


def predict(
    module: nn.Module,
    x: Tensor,
    timestep: Tensor,
    context: Tensor,
    added: FluxInputs,
    hint: Tensor,
    kind: int,
) -> FluxResiduals:
    """Return the residuals of a ControlNet; see `ControlArchitecture.predict`."""
    config: Any = module.config
    tokens, positions = make_tokens(x)
    pooled = added.pooled
    if pooled is None:
        pooled = x.new_zeros(len(x), config.pooled_projection_dim)
    guidance = added.guidance
    if guidance is None:
        guidance = x.new_zeros(len(x))
    has_kind = getattr(config, "num_mode", None) is not None and kind >= 0
    setattr(module, "union", has_kind)  # noqa: B010 - mypy takes it for a submodule
    double, single = module(
        hidden_states=tokens,
        controlnet_cond=make_tokens(hint)[0],
        controlnet_mode=timestep.new_full((len(x), 1), kind).long() if has_kind else None,
        encoder_hidden_states=context,
        pooled_projections=pooled.to(x.dtype),
        timestep=timestep,
        img_ids=positions,
        txt_ids=positions.new_zeros(context.shape[1], 3),
        guidance=guidance if config.guidance_embeds else None,
        return_dict=False,
    )
    return FluxResiduals(tuple(double or ()), tuple(single or ()))


CONTROL = ControlArchitecture(
    class_name="FluxControlNetModel",
    find=find_control,
    sizes=control_sizes,
    predict=predict,
)
