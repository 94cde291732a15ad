"""Style models: an image as part of the prompt, for Flux.1 Redux."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from latentloom.engine.node.ports import Between, Socket
from latentloom.engine.node.spec import node

from .checks import as_input_error
from .ports import Conditioning, StyleModelFile, VisionOutput

if TYPE_CHECKING:
    from latentloom.diffusion.networks import style_model

StyleModel = Annotated["style_model.StyleModel", Socket("STYLE_MODEL")]
StyleStrength = Annotated[float, Between(0.0, 10.0, step=0.001)]
STYLE_MODEL = "a style model of Flux.1 (Redux)"


@node("StyleModelLoader", category="model/loaders", device=True)
class StyleModelLoader:
    """Load a style model.

    Args:
        style_model_name: an installed file in `style_models`.

    Raises:
        InputError: the file is damaged, unsafe to load, or another network.

    Source: ComfyUI's StyleModelLoader.
    """

    @staticmethod
    def run(style_model_name: StyleModelFile) -> StyleModel:
        from latentloom.diffusion.networks.style_model import load_style_model

        with as_input_error("style_model_name", STYLE_MODEL):
            return load_style_model(style_model_name)

    @staticmethod
    def check(style_model_name: Path) -> None:
        from latentloom.diffusion.networks.style_model import check_style_model

        with as_input_error("style_model_name", STYLE_MODEL):
            check_style_model(style_model_name)


@node("StyleModelApply", category="model/conditioning", device=True)
def style_model_apply(
    conditioning: Conditioning,
    style_model: StyleModel,
    clip_vision_output: VisionOutput,
    strength: StyleStrength = 1.0,
    strength_type: Literal["multiply", "attn_bias"] = "multiply",
) -> Conditioning:
    """Append encoded images to a prompt, as tokens.

    Args:
        conditioning: the encoded prompt.
        style_model: turns patches of images into tokens.
        clip_vision_output: the images, encoded with the style model's image encoder.
        strength: of the images; 1 is as trained.
        strength_type: multiply the tokens, or the attention to them.

    Raises:
        InputError: the image encoder is another one than the style model's.

    Source: ComfyUI's StyleModelApply.
    """
    from latentloom.diffusion.conditioning.conditioning import with_style
    from latentloom.diffusion.networks.style_model import make_style_tokens

    with as_input_error("clip_vision_output"):
        tokens = make_style_tokens(style_model, clip_vision_output)
    return with_style(conditioning, tokens, strength, as_bias=strength_type == "attn_bias")
