"""ControlNets: loaded, and put on conditionings with an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import Conditioning, ControlNet, ControlNetFile, Image, Model, Percent, Vae

WHOLE = "a whole ControlNet"

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


class ControlledSides(NamedTuple):
    """The outputs of ControlNetApplyAdvanced."""

    positive: Conditioning
    negative: Conditioning


@node("ControlNetLoader", category="loaders", device=True)
class ControlNetLoader:
    """Load a ControlNet.

    Args:
        control_net_name: name of an installed ControlNet: a diffusers folder or a file.

    Raises:
        InputError: it is damaged, not safe to load, or no ControlNet.

    Source: ComfyUI's ControlNetLoader.
    """

    @staticmethod
    def run(control_net_name: ControlNetFile) -> ControlNet:
        from latentloom.diffusion.networks.control_load import load_control

        with as_input_error("control_net_name", WHOLE):
            return load_control(control_net_name)

    @staticmethod
    def check(control_net_name: Path) -> None:
        from latentloom.diffusion.weights.control_file import check_control

        with as_input_error("control_net_name", WHOLE):
            check_control(control_net_name)

    @staticmethod
    def family(control_net_name: Path) -> str:
        from latentloom.diffusion.weights.control_file import detect_control_family

        with as_input_error("control_net_name", WHOLE):
            return detect_control_family(control_net_name).name


@node("DiffControlNetLoader", category="loaders", device=True)
class DiffControlNetLoader:
    """Load a ControlNet whose file holds its difference to the weights of a model.

    Args:
        model: what a difference is added to; any other file is loaded as it is.
        control_net_name: name of an installed ControlNet.

    Raises:
        InputError: it is damaged, not safe to load, or no ControlNet.

    Source: ComfyUI's DiffControlNetLoader.
    """

    @staticmethod
    def run(model: Model, control_net_name: ControlNetFile) -> ControlNet:
        from latentloom.diffusion.networks.control_load import load_control

        with as_input_error("control_net_name", WHOLE):
            return load_control(control_net_name, model)

    @staticmethod
    def check(control_net_name: Path) -> None:
        from latentloom.diffusion.weights.control_file import check_control

        with as_input_error("control_net_name", WHOLE):
            check_control(control_net_name, with_model=True)

    @staticmethod
    def family(control_net_name: Path) -> str:
        from latentloom.diffusion.weights.control_file import detect_control_family

        with as_input_error("control_net_name", WHOLE):
            return detect_control_family(control_net_name).name


@node("SetUnionControlNetType", category="conditioning/controlnet")
def set_union_controlnet_type(control_net: ControlNet, type: UnionKind = "auto") -> ControlNet:
    """Tell a ControlNet for several kinds of images which kind it is given.

    Args:
        control_net: a union ControlNet; any other ignores it.
        type: the kind; auto says nothing.

    Raises:
        InputError: the net does not know that kind.

    Source: ComfyUI's SetUnionControlNetType.
    """
    from dataclasses import replace

    from latentloom.diffusion.networks.control import UNION_KINDS, UnionWeights

    kind, weights = UNION_KINDS[type], control_net.weights
    if isinstance(weights, UnionWeights) and kind >= weights.kinds:
        expected = f"one of the {weights.kinds} kinds that this net knows"
        raise InputError("type", expected, type)
    return replace(control_net, kind=kind)


@node("ControlNetApplyAdvanced", category="conditioning/controlnet")
def controlnet_apply_advanced(
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    image: Image,
    strength: ControlStrength = 1.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 1.0,
    vae: Vae | None = None,  # noqa: ARG001 - of ControlNets that read latents, in files
) -> ControlledSides:
    """Let an image such as edges or depth hold the composition, for a part of the way.

    Several in a row add up, each with its own strength and range.

    Args:
        positive, negative: what is asked of the model; both sides are controlled.
        control_net: what reads the image; of the family of the prompts.
        image: B×H×W×3, made as the ControlNet wants it; cut to the aspect of the latent and
            resized. One image serves a whole batch.
        strength: 0 is none: the conditionings stay as they are.
        start_percent: share of the way from which it acts; 0 is pure noise.
        end_percent: share of the way up to which it acts.
        vae: not needed by the ControlNets of these families.

    Source: ComfyUI's ControlNetApplyAdvanced.
    """
    from latentloom.diffusion.conditioning.conditioning import with_control
    from latentloom.diffusion.networks.control import Control

    if strength == 0:
        return ControlledSides(positive, negative)
    control = Control(control_net, image, strength, start_percent, end_percent)
    return ControlledSides(with_control(positive, control), with_control(negative, control))


@node("ControlNetApply", category="conditioning/controlnet", deprecated=True)
def controlnet_apply(
    conditioning: Conditioning,
    control_net: ControlNet,
    image: Image,
    strength: ControlStrength = 1.0,
) -> Conditioning:
    """Put a ControlNet on the positive side; a negative side without one shares it.

    Args:
        conditioning: what is asked of the model.
        control_net: what reads the image.
        image: B×H×W×3, made as the ControlNet wants it.
        strength: 0 is none.

    Source: ComfyUI's ControlNetApply, which ControlNetApplyAdvanced replaces.
    """
    from latentloom.diffusion.conditioning.conditioning import with_control
    from latentloom.diffusion.networks.control import Control

    if strength == 0:
        return conditioning
    return with_control(conditioning, Control(control_net, image, strength, both_sides=True))
