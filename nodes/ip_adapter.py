"""Images as prompts: CLIP's image encoder, IP-Adapters, and how they are put on a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between, Socket
from latentloom.engine.node.spec import node

from .checks import as_input_error, check_mask
from .ports import ClipVisionFolder, Image, IpAdapterFile, Mask, Model, Percent

if TYPE_CHECKING:
    from latentloom.diffusion.networks import clip_vision, ip_adapter

ClipVision = Annotated["clip_vision.ClipVision", Socket("CLIP_VISION")]
VisionOutput = Annotated["clip_vision.VisionOutput", Socket("CLIP_VISION_OUTPUT")]
IpAdapter = Annotated["ip_adapter.IpAdapter", Socket("IPADAPTER", family=True)]
AdapterWeight = Annotated[float, Between(-1.0, 5.0, step=0.05)]
WHOLE_VISION = "a CLIP image encoder in a folder of transformers"
WHOLE_ADAPTER = "an IP-Adapter for images"


@node("CLIPVisionLoader", category="loaders", device=True)
class CLIPVisionLoader:
    """Load CLIP's image encoder.

    Args:
        clip_name: name of an installed encoder: a folder in `clip_vision`.

    Raises:
        InputError: it is damaged, not safe to load, or another network.

    Source: ComfyUI's CLIPVisionLoader.
    """

    @staticmethod
    def run(clip_name: ClipVisionFolder) -> ClipVision:
        from latentloom.diffusion.networks.clip_vision import load_clip_vision

        with as_input_error("clip_name", WHOLE_VISION):
            return load_clip_vision(clip_name)

    @staticmethod
    def check(clip_name: Path) -> None:
        from latentloom.diffusion.networks.clip_vision import check_clip_vision

        with as_input_error("clip_name", WHOLE_VISION):
            check_clip_vision(clip_name)


@node("CLIPVisionEncode", category="conditioning", device=True)
def clip_vision_encode(
    clip_vision: ClipVision, image: Image, crop: Literal["center", "none"] = "center"
) -> VisionOutput:
    """What CLIP's image encoder makes of images, for nodes of packs that ask for it.

    Args:
        clip_vision: the encoder.
        image: images B×H×W×C.
        crop: center sees the middle square, none all of the image, squeezed.

    Source: ComfyUI's CLIPVisionEncode.
    """
    from latentloom.diffusion.networks.clip_vision import encode_image

    return encode_image(clip_vision, image, crop=crop != "none")


@node("IPAdapterModelLoader", category="loaders", device=True)
class IPAdapterModelLoader:
    """Load an IP-Adapter.

    Args:
        ipadapter_file: name of an installed adapter, from `ipadapter`.

    Raises:
        InputError: it is damaged, not safe to load, or none for images.

    Source: the node of this name of the extension ComfyUI_IPAdapter_plus.
    """

    @staticmethod
    def run(ipadapter_file: IpAdapterFile) -> IpAdapter:
        from latentloom.diffusion.networks.ip_adapter import load_ip_adapter

        with as_input_error("ipadapter_file", WHOLE_ADAPTER):
            return load_ip_adapter(ipadapter_file)

    @staticmethod
    def check(ipadapter_file: Path) -> None:
        from latentloom.diffusion.networks.ip_adapter import read_adapter_layout

        with as_input_error("ipadapter_file", WHOLE_ADAPTER):
            read_adapter_layout(ipadapter_file)

    @staticmethod
    def family(ipadapter_file: Path) -> str:
        from latentloom.diffusion.networks.ip_adapter import read_adapter_family

        with as_input_error("ipadapter_file", WHOLE_ADAPTER):
            return read_adapter_family(ipadapter_file).name


@node("IPAdapterAdvanced", category="ipadapter", device=True)
def ip_adapter_advanced(
    *,
    model: Model,
    ipadapter: IpAdapter,
    image: Image,
    weight: AdapterWeight = 1.0,
    weight_type: Literal["linear"] = "linear",  # noqa: ARG001 - the one kind that is here
    combine_embeds: Literal["concat", "average"] = "concat",
    start_at: Percent = 0.0,
    end_at: Percent = 1.0,
    embeds_scaling: Literal["V only"] = "V only",  # noqa: ARG001 - the one kind that is here
    attn_mask: Mask | None = None,
    clip_vision: ClipVision,
) -> Model:
    """Prompt a model with images, beside its text.

    Args:
        model: the model to sample with.
        ipadapter: of the model's family.
        image: images B×H×W×C; their middle square is seen.
        weight: how much they count; 0 is not at all.
        weight_type: linear is the same weight in all layers.
        combine_embeds: concat puts the tokens of several images one after another, average
            takes what they have in common.
        start_at, end_at: shares of the way from noise to image between which they count.
        embeds_scaling: V only is the weight on what is found.
        attn_mask: masks B×H×W, 1 where the images count; resized to the latent.
        clip_vision: the image encoder that the adapter was trained on.

    Raises:
        InputError: the adapter has other layers than the model, or another encoder.

    Source: the node of this name of the extension ComfyUI_IPAdapter_plus; arXiv 2308.06721.
    """
    from latentloom.diffusion.networks.attention import cross_attentions
    from latentloom.diffusion.networks.ip_adapter import encode_image_tokens
    from latentloom.diffusion.patches.ip_adapter import ImagePrompt

    expected, got = len(cross_attentions(model.weights.module)), len(ipadapter.weights.module.keys)
    if expected != got:
        raise InputError("ipadapter", f"an adapter of {expected} layers", f"{got} layers")
    check_mask("attn_mask", attn_mask)
    with as_input_error("clip_vision", "the image encoder that the adapter was trained on"):
        tokens = encode_image_tokens(ipadapter, clip_vision, image, combine_embeds == "average")
    prompt = ImagePrompt(ipadapter, tokens, weight, start_at, end_at, attn_mask)
    return replace(model, patches=(*model.patches, prompt))
