"""Lint rules about the shipped nodes: pitfalls of refining images, each with a remedy.

Sources: recurring questions in the issue trackers of ComfyUI and similar programs, and their
answers. A rule warns only of what literal values prove; linked values are unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from latentloom.engine.graph.lint import Finding, NodeView, rule

if TYPE_CHECKING:
    from latentloom.diffusion.images.image_limits import Header

T = TypeVar("T")

KSAMPLERS = ("KSampler", "KSamplerAdvanced")
MASKING = ("SetLatentNoiseMask", "VAEEncodeForInpaint", "InpaintModelConditioning")
IMAGES = ("VAEEncode", "VAEEncodeTiled")
LOADERS = ("LoadImage", "LoadImageMask")
DECODERS = ("VAEDecode", "VAEDecodeTiled")
EMPTY = ("EmptyLatentImage", "EmptySD3LatentImage")
SOFTENING = ("LatentUpscale", "LatentUpscaleBy")
# Nodes whose masks say what to change, and by which input.
MASKED_INPUTS = {
    **dict.fromkeys((*MASKING, "InpaintCrop", "MaskedToneFix", "ImagePasteBack"), "mask"),
    **dict.fromkeys(("ImageCompositeMasked", "LatentCompositeMasked"), "mask"),
    **dict.fromkeys(("ConditioningSetMask", "InpaintPreprocessor"), "mask"),
    "IPAdapterAdvanced": "attn_mask",
}
# Nodes that make an empty mask of an empty mask.
EMPTY_STAYS_EMPTY = ("GrowMask", "FeatherMask", "ThresholdMask", "CropMask")
MIN_AFTER_UPSCALING = 0.4
# Four times the megapixel that the largest models were trained at.
MAX_AT_ONCE = 2048 * 2048


@rule("KSampler")
def source_ignored(node: NodeView) -> Iterator[Finding]:
    """Denoise 1 starts from pure noise."""
    chain = _latent_chain(node)
    if node.number("denoise") >= 1 and chain and chain[-1].type in IMAGES and not _is_masked(chain):
        yield Finding(
            "denoise",
            f"denoise 1 ignores the image that {_title(chain[-1])} encodes",
            "denoise 0.3 to 0.7 to keep its layout; for a new image use EmptyLatentImage",
        )


@rule("KSampler")
def empty_latent_kept(node: NodeView) -> Iterator[Finding]:
    """Denoise below 1 keeps a part of an empty latent."""
    chain = _latent_chain(node)
    if node.number("denoise") < 1 and chain and chain[-1].type in EMPTY:
        yield Finding(
            "denoise",
            "the latent is empty; with denoise below 1 a grey veil remains",
            "denoise 1, or encode an image with VAEEncode",
        )


@rule("KSampler")
def grey_fill_visible(node: NodeView) -> Iterator[Finding]:
    """VAEEncodeForInpaint erases the image under the mask."""
    chain = _latent_chain(node)
    if node.number("denoise") < 1 and chain and chain[-1].type == "VAEEncodeForInpaint":
        yield Finding(
            "denoise",
            "VAEEncodeForInpaint fills the mask with grey, which denoise below 1 leaves visible",
            "denoise 1, or VAEEncode and SetLatentNoiseMask, which keep the image under the mask",
        )


@rule("KSampler")
def soft_upscale(node: NodeView) -> Iterator[Finding]:
    """An enlarged latent is blurred."""
    direct = node.origin("latent_image")
    low = node.number("denoise") < MIN_AFTER_UPSCALING
    if direct is not None and direct.type in SOFTENING and low:
        yield Finding(
            "denoise",
            "an enlarged latent is blurred, and remains so with this little denoise",
            "denoise 0.5 or more, or enlarge the image and encode it",
        )


@rule(*KSAMPLERS)
def same_seed(node: NodeView) -> Iterator[Finding]:
    """The same noise twice amplifies its pattern."""
    chain = _latent_chain(node)
    port, seed = _seed(node)
    if seed is None or not chain or chain[-1].type not in KSAMPLERS:
        return
    if _seed(chain[-1])[1] == seed:
        yield Finding(
            port,
            f"seed {seed} is also that of the previous pass; repeated noise amplifies its pattern",
            "a different seed for each pass",
        )


@rule("KSampler", *DECODERS)
def noise_left(node: NodeView) -> Iterator[Finding]:
    """Leftover noise is meant for a pass that continues with it."""
    port = "latent_image" if node.type in KSAMPLERS else "samples"
    before = node.origin(port)
    if before is None or before.type != "KSamplerAdvanced":
        return
    if before["return_with_leftover_noise"] == "enable" and _stops_early(before):
        yield Finding(
            port,
            f"{_title(before)} returns a latent with leftover noise",
            "return_with_leftover_noise: disable, or continue with KSamplerAdvanced without noise",
        )


@rule("KSamplerAdvanced")
def noise_twice(node: NodeView) -> Iterator[Finding]:
    """Noise is added to a latent with leftover noise, or missing from one without."""
    before = node.origin("latent_image")
    if before is None or before.type != "KSamplerAdvanced":
        return
    left = before["return_with_leftover_noise"] == "enable" and _stops_early(before)
    added = node["add_noise"] == "enable"
    if left and added:
        text = f"{_title(before)} leaves noise in the latent, and this node adds more"
        yield Finding("add_noise", text, "add_noise: disable")
    elif not left and node["add_noise"] == "disable" and node.number("start_at_step") > 0:
        text = f"{_title(before)} leaves no noise in the latent, and none is added"
        yield Finding(
            "add_noise",
            text,
            "add_noise: enable, or return_with_leftover_noise: enable before",
        )


@rule("KSamplerAdvanced")
def no_steps(node: NodeView) -> Iterator[Finding]:
    """The range of steps is empty."""
    start = node.number("start_at_step")
    end = min(node.number("end_at_step"), node.number("steps"))
    if start >= end:
        yield Finding(
            "start_at_step",
            f"there are no steps from {start:.0f} to {end:.0f}; the latent stays unchanged",
            "start_at_step below end_at_step and steps",
        )


@rule("KSampler")
def no_change(node: NodeView) -> Iterator[Finding]:
    """Denoise 0 does nothing."""
    if node.number("denoise") == 0:
        text = "denoise 0 leaves the latent unchanged"
        yield Finding("denoise", text, "denoise above 0, or remove the pass")


@rule(*KSAMPLERS)
def negative_ignored(node: NodeView) -> Iterator[Finding]:
    """Without guidance the negative prompt is ignored."""
    negative = node.origin("negative")
    has_text = negative is not None and negative.type == "CLIPTextEncode" and negative["text"]
    if node.number("cfg") == 1 and has_text:
        text = "cfg 1 ignores the negative prompt, which is not empty"
        yield Finding("cfg", text, "cfg above 1, or an empty negative prompt")


@rule("ControlNetApply", "ControlNetApplyAdvanced", "ControlNetApplySD3")
def control_ignored(node: NodeView) -> Iterator[Finding]:
    """A ControlNet has no strength, or an empty range."""
    if node.number("strength") == 0:
        yield Finding("strength", "strength 0 has no effect", "a strength above 0, or remove it")
    if node.number("start_percent") > node.number("end_percent"):
        text = "its range is empty, so it has no effect"
        yield Finding("start_percent", text, "start_percent at or below end_percent")


@rule("LoraLoader", "LoraLoaderModelOnly")
def lora_ignored(node: NodeView) -> Iterator[Finding]:
    """A LoRA has no strength."""
    strengths = [node.number("strength_model")]
    if node.type == "LoraLoader":
        strengths.append(node.number("strength_clip"))
    if all(strength == 0 for strength in strengths):
        yield Finding(
            "strength_model", "strength 0 has no effect", "a strength above 0, or remove it"
        )


@rule(*IMAGES)
def round_trip(node: NodeView) -> Iterator[Finding]:
    """Decoding and encoding again loses detail."""
    before = node.origin("pixels")
    if before is not None and before.type in DECODERS:
        yield Finding(
            "pixels",
            f"{_title(before)} decoded this image; decoding and encoding again loses detail",
            "link the latent itself",
        )


@rule("SetLatentNoiseMask")
def mask_over_nothing(node: NodeView) -> Iterator[Finding]:
    """The latent outside the mask is empty."""
    chain = list(node.chain("samples", "samples"))
    if chain and chain[-1].type in EMPTY:
        yield Finding(
            "mask",
            "the latent outside the mask stays unchanged, and it is empty: grey",
            "encode an image, or remove the mask",
        )


@rule("SetLatentNoiseMask")
def mask_replaced(node: NodeView) -> Iterator[Finding]:
    """A second mask replaces the first."""
    before = next(filter(_sets_mask, node.chain("samples", "samples")), None)
    if before is not None:
        text = f"this mask replaces that of {_title(before)}, which is ignored"
        yield Finding("mask", text, "combine the masks with MaskComposite, or remove one")


@rule("SetLatentNoiseMask", "VAEEncodeForInpaint")
def mask_stretched(node: NodeView) -> Iterator[Finding]:
    """The mask and the image have different proportions."""
    maker = node
    if node.type == "SetLatentNoiseMask":
        maker = [node, *node.chain("samples", "samples")][-1]
    mask = [node, *node.chain("mask", "mask")][-1]
    image = maker.origin("pixels")
    ours, theirs = _size(mask), _size(image)
    if ours is None or theirs is None:
        return
    if not any(_same_proportions(ours, size) for size in (theirs, theirs[::-1])):
        shapes = [f"{width}×{height}" for width, height in (ours, theirs)]
        yield Finding(
            "mask",
            f"the mask is {shapes[0]} and the image {shapes[1]}; the mask will be stretched",
            "a mask with the image's proportions, or crop the image first",
        )


@rule(*MASKED_INPUTS)
def mask_empty(node: NodeView) -> Iterator[Finding]:
    """An image without alpha gives an empty mask."""
    port = MASKED_INPUTS[node.type]
    maker = node.origin(port)
    while maker is not None and maker.type in EMPTY_STAYS_EMPTY:
        maker = maker.origin("mask")
    if maker is None or maker.type not in LOADERS or maker["channel"] not in (None, "alpha"):
        return
    if _has_mask(maker) is False:
        yield Finding(
            port,
            f"the image of {_title(maker)} has no alpha, so that its mask is empty: it marks "
            "nothing",
            "an image whose alpha marks the place, or LoadImageMask with a mask image and its "
            "channel red",
        )


@rule(*KSAMPLERS)
def image_large(node: NodeView) -> Iterator[Finding]:
    """A photo is sampled at its full size, for which no model was trained."""
    encoder = node.origin("latent_image")
    size = _size(encoder.origin("pixels")) if encoder is not None else None
    is_tiled = any(patch.type == "TiledDiffusion" for patch in node.chain("model", "model"))
    if size is None or is_tiled or size[0] * size[1] <= MAX_AT_ONCE:
        return
    yield Finding(
        "latent_image",
        f"the image has {size[0]}×{size[1]} pixels, far more than models are trained on; sampling "
        "is slow, needs much memory, and repeats objects",
        "ImageScaleToTotalPixels to 1 megapixel first, or TiledDiffusion",
    )


@rule(*LOADERS)
def image_unread(node: NodeView) -> Iterator[Finding]:
    """Of an image file the first image is read, and its colours as sRGB."""
    from latentloom.diffusion.images.image_limits import ImageFileError
    from latentloom.diffusion.images.unread_parts import COLOURS, MORE, list_unread

    path = node.file("image")
    if path is None:
        return
    remedies = {
        MORE: "to use another frame or page, save it as an image file",
        COLOURS: "convert the image to sRGB, or its colours will look different",
    }
    with suppress(ImageFileError):
        for part in list_unread(path):
            yield Finding("image", f"what is not read of the file: {part}", remedies[part])


def _size(node: NodeView | None) -> tuple[int, int] | None:
    """Return width and height of the image that a node loads."""
    return _read(node, lambda header: (header.width, header.height))


def _has_mask(node: NodeView) -> bool | None:
    """Return whether the image that a node loads has transparency; None if it is not known."""
    from latentloom.diffusion.images.image_files import has_mask

    return _read(node, has_mask)


def _read(node: NodeView | None, read: Callable[[Header], T]) -> T | None:
    """Return what a function reads from the header of the image that a node loads."""
    path = node.file("image") if node is not None and node.type in LOADERS else None
    if path is None:
        return None
    from latentloom.diffusion.images.image_files import check_file
    from latentloom.diffusion.images.image_limits import ImageFileError

    try:
        return read(check_file(path))
    except ImageFileError:
        return None


def _same_proportions(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Return whether two sizes have the same proportions, within one percent."""
    return abs(a[0] * b[1] - b[0] * a[1]) <= 0.01 * a[0] * b[1]


def _latent_chain(node: NodeView) -> list[NodeView]:
    """Return the nodes upstream of a sampler's latent, up to a sampler, encoder or empty latent."""
    return list(node.chain("latent_image", "samples"))


def _sets_mask(node: NodeView) -> bool:
    return node.type in MASKING


def _is_masked(chain: list[NodeView]) -> bool:
    return any(_sets_mask(node) for node in chain)


def _seed(node: NodeView) -> tuple[str, int | None]:
    """Return the name of a sampler's seed input, and the seed; None if it adds no noise."""
    port = "seed" if node.type == "KSampler" else "noise_seed"
    silent = node["add_noise"] == "disable" or node.number("denoise") == 0
    return port, None if silent else node[port]


def _stops_early(node: NodeView) -> bool:
    return node.number("end_at_step") < node.number("steps")


def _title(node: NodeView) -> str:
    return f"{node.type} ({node.id})"
