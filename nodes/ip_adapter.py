"""Images as prompts: CLIP image encoders and IP-Adapters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between, Socket
from latentloom.engine.node.spec import node

from .checks import as_input_error, check_mask
from .ports import ClipVisionFolder, Image, IpAdapterFile, Mask, Model, Percent, VisionOutput

if TYPE_CHECKING:
    from latentloom.diffusion.networks import clip_vision, ip_adapter

ClipVision = Annotated["clip_vision.ClipVision", Socket("CLIP_VISION")]
IpAdapter = Annotated["ip_adapter.IpAdapter", Socket("IPADAPTER", family=True)]
AdapterWeight = Annotated[float, Between(-1.0, 5.0, step=0.05)]
IMAGE_ENCODER = "a CLIP image encoder in a transformers folder"
IP_ADAPTER = "an IP-Adapter for images"


@node("CLIPVisionLoader", category="model/loaders", device=True)
class CLIPVisionLoader:
    """Load a CLIP image encoder.

    Args:
        clip_name: an installed encoder: a folder in `clip_vision`.

    Raises:
        InputError: the files are damaged, unsafe to load, or of another network.

    Source: ComfyUI's CLIPVisionLoader.
    """

    @staticmethod
    def run(clip_name: ClipVisionFolder) -> ClipVision:
        from latentloom.diffusion.networks.clip_vision import load_clip_vision

        with as_input_error("clip_name", IMAGE_ENCODER):
            return load_clip_vision(clip_name)

    @staticmethod
    def check(clip_name: Path) -> None:
        from latentloom.diffusion.networks.clip_vision import check_clip_vision

        with as_input_error("clip_name", IMAGE_ENCODER):
            check_clip_vision(clip_name)


@node("CLIPVisionEncode", category="model/conditioning", device=True)
def clip_vision_encode(
    clip_vision: ClipVision, image: Image, crop: Literal["center", "none"] = "center"
) -> VisionOutput:
    """Encode images with a CLIP image encoder, for custom nodes that need the embedding.

    Args:
        clip_vision: the image encoder.
        image: images B×H×W×C.
        crop: center encodes the central square, none the full image squeezed to a square.

    Source: ComfyUI's CLIPVisionEncode.
    """
    from latentloom.diffusion.networks.clip_vision import encode_image

    return encode_image(clip_vision, image, crop=crop != "none")


@node("IPAdapterModelLoader", category="loaders", device=True)
class IPAdapterModelLoader:
    """Load an IP-Adapter.

    Args:
        ipadapter_file: an installed adapter: a file in `ipadapter`.

    Raises:
        InputError: the file is damaged, unsafe to load, or not an IP-Adapter for images.

    Source: IPAdapterModelLoader of the extension ComfyUI_IPAdapter_plus.
    """

    @staticmethod
    def run(ipadapter_file: IpAdapterFile) -> IpAdapter:
        from latentloom.diffusion.networks.ip_adapter import load_ip_adapter

        with as_input_error("ipadapter_file", IP_ADAPTER):
            return load_ip_adapter(ipadapter_file)

    @staticmethod
    def check(ipadapter_file: Path) -> None:
        from latentloom.diffusion.networks.ip_adapter import check_ip_adapter

        with as_input_error("ipadapter_file", IP_ADAPTER):
            check_ip_adapter(ipadapter_file)

    @staticmethod
    def family(ipadapter_file: Path) -> str:
        from latentloom.diffusion.networks.ip_adapter import read_adapter_family

        with as_input_error("ipadapter_file", IP_ADAPTER):
            return read_adapter_family(ipadapter_file).name


@node("IPAdapterAdvanced", category="ipadapter", device=True)
def ip_adapter_advanced(
    *,
    model: Model,
    ipadapter: IpAdapter,
    image: Image,
    weight: AdapterWeight = 1.0,
    weight_type: Literal["linear"] = "linear",  # noqa: ARG001 - the only supported choice
    combine_embeds: Literal["concat", "average"] = "concat",
    start_at: Percent = 0.0,
    end_at: Percent = 1.0,
    embeds_scaling: Literal["V only"] = "V only",  # noqa: ARG001 - the only supported choice
    attn_mask: Mask | None = None,
    clip_vision: ClipVision,
) -> Model:
    """Prompt a model with images, in addition to text.

    Args:
        model: the model to sample with.
        ipadapter: an IP-Adapter of the model's family.
        image: images B×H×W×C; the central square is used.
        weight: strength of the images, -1 to 5; 0 is off.
        weight_type: linear applies the same weight in all layers.
        combine_embeds: concat joins the tokens of several images, average takes their mean.
        start_at, end_at: range of the sampling in which they are active; 0 is the start (pure
            noise), 1 the end.
        embeds_scaling: V only applies the weight to the values of the attention.
        attn_mask: masks B×H×W, 1 where the images apply; resized to the latent.
        clip_vision: the image encoder that the adapter was trained with.

    Raises:
        InputError: the adapter does not match the model's layers or the image encoder.

    Source: IPAdapterAdvanced of the extension ComfyUI_IPAdapter_plus; arXiv 2308.06721.
    """
    from latentloom.diffusion.networks.attention import find_cross_attentions
    from latentloom.diffusion.networks.ip_adapter import encode_image_tokens
    from latentloom.diffusion.patches.ip_adapter import ImagePrompt

    expected, got = (
        len(find_cross_attentions(model.weights.module)),
        len(ipadapter.weights.module.keys),
    )
    if expected != got:
        raise InputError("ipadapter", f"an adapter for {expected} layers", f"one for {got}")
    check_mask("attn_mask", attn_mask)
    with as_input_error("clip_vision", "the image encoder that the adapter was trained with"):
        tokens = encode_image_tokens(ipadapter, clip_vision, image, combine_embeds == "average")
    prompt = ImagePrompt(
        ipadapter, tokens, weight=weight, start=start_at, end=end_at, mask=attn_mask
    )
    return replace(model, patches=(*model.patches, prompt))
