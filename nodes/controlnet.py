"""ControlNets: load them, and apply them to conditioning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import Conditioning, ControlNet, ControlNetFile, Image, Model, Percent, Vae

CONTROL_NET = "a complete ControlNet"

ControlStrength = Annotated[float, Between(0.0, 10.0, step=0.01)]
UnionKind = Literal[
    "auto",
    "openpose",
    "depth",
    "hed/pidi/scribble/ted",
    "canny/lineart/anime_lineart/mlsd",
    "normal",
    "segment",
    "tile",
    "repaint",
]


class ControlledPair(NamedTuple):
    """The outputs of ControlNetApplyAdvanced."""

    positive: Conditioning
    negative: Conditioning


@node("ControlNetLoader", category="model/loaders", device=True)
class ControlNetLoader:
    """Load a ControlNet.

    Args:
        control_net_name: an installed ControlNet: a file or a diffusers folder in `controlnet`.

    Raises:
        InputError: the file is damaged, unsafe to load, or not a ControlNet.

    Source: ComfyUI's ControlNetLoader.
    """

    @staticmethod
    def run(control_net_name: ControlNetFile) -> ControlNet:
        from latentloom.diffusion.networks.control_load import load_control

        with as_input_error("control_net_name", CONTROL_NET):
            return load_control(control_net_name)

    @staticmethod
    def check(control_net_name: Path) -> None:
        from latentloom.diffusion.weights.control_file import check_control

        with as_input_error("control_net_name", CONTROL_NET):
            check_control(control_net_name)

    @staticmethod
    def family(control_net_name: Path) -> str:
        from latentloom.diffusion.weights.control_file import detect_control_family

        with as_input_error("control_net_name", CONTROL_NET):
            return detect_control_family(control_net_name).name


@node("DiffControlNetLoader", category="model/loaders", device=True)
class DiffControlNetLoader:
    """Load a ControlNet whose weights are stored as a difference from a model's.

    Args:
        model: the model whose weights are added; not used for an ordinary ControlNet.
        control_net_name: an installed ControlNet.

    Raises:
        InputError: the file is damaged, unsafe to load, or not a ControlNet.

    Source: ComfyUI's DiffControlNetLoader.
    """

    @staticmethod
    def run(model: Model, control_net_name: ControlNetFile) -> ControlNet:
        from latentloom.diffusion.networks.control_load import load_control

        with as_input_error("control_net_name", CONTROL_NET):
            return load_control(control_net_name, model)

    @staticmethod
    def check(control_net_name: Path) -> None:
        from latentloom.diffusion.weights.control_file import check_control

        with as_input_error("control_net_name", CONTROL_NET):
            check_control(control_net_name, with_model=True)

    @staticmethod
    def family(control_net_name: Path) -> str:
        from latentloom.diffusion.weights.control_file import detect_control_family

        with as_input_error("control_net_name", CONTROL_NET):
            return detect_control_family(control_net_name).name


@node("SetUnionControlNetType", category="model/conditioning/controlnet")
def set_union_controlnet_type(control_net: ControlNet, type: UnionKind = "auto") -> ControlNet:
    """Set the control type of a union ControlNet.

    Args:
        control_net: a union ControlNet; other ControlNets ignore the type.
        type: the kind of control image; auto leaves it unset.

    Raises:
        InputError: the ControlNet was not trained on this type.

    Source: ComfyUI's SetUnionControlNetType.
    """
    from dataclasses import replace

    from latentloom.diffusion.networks.control import UNION_KINDS

    kind, count = UNION_KINDS[type], control_net.weights.kind_count
    if count is not None and kind >= count:
        raise InputError("type", f"one of the {count} types of this ControlNet", type)
    return replace(control_net, kind=kind)


@node("ControlNetApplyAdvanced", category="model/conditioning/controlnet")
def controlnet_apply_advanced(
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    image: Image,
    strength: ControlStrength = 1.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 1.0,
    vae: Vae | None = None,
) -> ControlledPair:
    """Apply a ControlNet to positive and negative conditioning, for part of the sampling.

    Chained ControlNets add up, each with its own strength and range.

    Args:
        positive, negative: the conditioning to control.
        control_net: a ControlNet of the same model family as the conditioning.
        image: the control image B×H×W×3, such as edges or depth; cropped to the aspect ratio of
            the latent and resized. A single image is used for the whole batch.
        strength: scale of the control; 0 returns the conditioning unchanged.
        start_percent, end_percent: range of the sampling in which it is active; 0 is the start
            (pure noise), 1 the end.
        vae: encodes the control image for ControlNets that read its latent, as those of Flux.1.

    Raises:
        InputError: the ControlNet reads latents and there is no VAE.

    Source: ComfyUI's ControlNetApplyAdvanced.
    """
    from latentloom.diffusion.conditioning.conditioning import with_control
    from latentloom.diffusion.networks.control import Control

    if strength == 0:
        return ControlledPair(positive, negative)
    if control_net.weights.reads_latents and vae is None:
        raise InputError("vae", "a VAE, since this ControlNet reads latents", "none")
    control = Control(
        control_net, image, strength=strength, start=start_percent, end=end_percent, vae=vae
    )
    return ControlledPair(with_control(positive, control), with_control(negative, control))


@node("ControlNetApply", category="model/conditioning/controlnet", deprecated=True)
def controlnet_apply(
    conditioning: Conditioning,
    control_net: ControlNet,
    image: Image,
    strength: ControlStrength = 1.0,
) -> Conditioning:
    """Apply a ControlNet to the positive conditioning.

    It also controls the negative side, unless that has a ControlNet itself.

    Args:
        conditioning: the positive conditioning.
        control_net: a ControlNet of the same model family.
        image: the control image B×H×W×3, such as edges or depth.
        strength: scale of the control; 0 returns the conditioning unchanged.

    Source: ComfyUI's ControlNetApply, replaced by ControlNetApplyAdvanced.
    """
    from latentloom.diffusion.conditioning.conditioning import with_control
    from latentloom.diffusion.networks.control import Control

    if strength == 0:
        return conditioning
    return with_control(
        conditioning, Control(control_net, image, strength=strength, both_sides=True)
    )
