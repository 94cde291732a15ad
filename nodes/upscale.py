"""Pictures made larger by networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from engine.context import Context
from engine.ports import Socket
from engine.spec import node

from .ports import Image, UpscaleFile, refusing

if TYPE_CHECKING:
    from diffusion import upscale

UpscaleModel = Annotated["upscale.UpscaleModel", Socket("UPSCALE_MODEL")]
WHOLE = "an ESRGAN net (RRDB) or a compact one (SRVGG) in safetensors"


@node("UpscaleModelLoader", category="loaders", device=True)
class UpscaleModelLoader:
    """Load a network that makes pictures larger.

    Args:
        model_name: name of an installed network, from `upscale_models`.

    Raises:
        InputError: it is damaged, not safe to load, or of an unknown kind.

    Source: ComfyUI's UpscaleModelLoader.
    """

    @staticmethod
    def run(model_name: UpscaleFile) -> UpscaleModel:
        from diffusion.upscale import load_upscaler

        with refusing("UpscaleModelLoader", "model_name", WHOLE):
            return load_upscaler(model_name)

    @staticmethod
    def check(model_name: Path) -> None:
        from diffusion.upscale_file import upscale_part

        with refusing("UpscaleModelLoader", "model_name", WHOLE):
            upscale_part(model_name)


@node("ImageUpscaleWithModel", category="image/upscaling", device=True)
def image_upscale_with_model(upscale_model: UpscaleModel, image: Image, context: Context) -> Image:
    """Make pictures larger with a network, in tiles.

    Args:
        upscale_model: the network; it says how much larger.
        image: pictures B×H×W×C; alpha is left out.

    Source: ComfyUI's ImageUpscaleWithModel: tiles of 512 pixels that overlap by 32.
    """
    from diffusion.upscale import upscale

    return upscale(upscale_model, image, context.progress)
