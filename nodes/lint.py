"""Rules about our nodes: the pitfalls of refining images, each with what to do instead.

Sources: the questions that come back in the trackers of ComfyUI and its peers, and what their
answers say. A rule speaks only where the graph itself proves it; a value that is linked proves
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from latentloom.engine.graph.lint import Finding, NodeView, rule

KSAMPLERS = ("KSampler", "KSamplerAdvanced")
MASKING = ("SetLatentNoiseMask", "VAEEncodeForInpaint", "InpaintModelConditioning")
IMAGES = ("VAEEncode", "VAEEncodeTiled")
LOADERS = ("LoadImage", "LoadImageMask")
DECODERS = ("VAEDecode", "VAEDecodeTiled")
SOFTENING = ("LatentUpscale", "LatentUpscaleBy")
MIN_AFTER_UPSCALING = 0.4
# Four times the megapixel that the largest models were trained at.
MAX_AT_ONCE = 2048 * 2048


@rule("KSampler")
def source_ignored(node: NodeView) -> Iterator[Finding]:
    """Denoise 1 starts from noise alone."""
    way = _latent_way(node)
    if node.number("denoise") >= 1 and way and way[-1].type in IMAGES and not _masked(way):
        yield Finding(
            "denoise",
            f"denoise 1 keeps nothing of the image that {_named(way[-1])} encodes",
            "denoise 0.3 to 0.7 keeps its layout; for a new image use EmptyLatentImage",
        )


@rule("KSampler")
def empty_latent_kept(node: NodeView) -> Iterator[Finding]:
    """Less than all of an empty latent is replaced."""
    way = _latent_way(node)
    if node.number("denoise") < 1 and way and way[-1].type == "EmptyLatentImage":
        yield Finding(
            "denoise",
            "an empty latent holds no image; denoise below 1 leaves a grey veil of it",
            "denoise 1, or encode an image with VAEEncode",
        )


@rule("KSampler")
def hole_kept(node: NodeView) -> Iterator[Finding]:
    """VAEEncodeForInpaint erases what is under the mask."""
    way = _latent_way(node)
    if node.number("denoise") < 1 and way and way[-1].type == "VAEEncodeForInpaint":
        yield Finding(
            "denoise",
            "VAEEncodeForInpaint fills the mask with grey; denoise below 1 lets it show through",
            "denoise 1, or VAEEncode and SetLatentNoiseMask, which keep what is there",
        )


@rule("KSampler")
def soft_upscale(node: NodeView) -> Iterator[Finding]:
    """A latent that was made larger is no sharp image."""
    direct = node.origin("latent_image")
    low = node.number("denoise") < MIN_AFTER_UPSCALING
    if direct is not None and direct.type in SOFTENING and low:
        yield Finding(
            "denoise",
            "a latent that was enlarged is soft, and so little denoise leaves it so",
            "denoise 0.5 or more, or enlarge the image and encode it",
        )


@rule(*KSAMPLERS)
def same_seed(node: NodeView) -> Iterator[Finding]:
    """The same noise twice deepens its pattern."""
    way = _latent_way(node)
    port, seed = _seed(node)
    if seed is None or not way or way[-1].type not in KSAMPLERS:
        return
    if _seed(way[-1])[1] == seed:
        yield Finding(
            port,
            f"seed {seed} is that of the pass before; the same noise again burns its pattern in",
            "give each pass a seed of its own",
        )


@rule("KSampler", *DECODERS)
def noise_left(node: NodeView) -> Iterator[Finding]:
    """Leftover noise is for a pass that goes on with it."""
    port = "latent_image" if node.type in KSAMPLERS else "samples"
    before = node.origin(port)
    if before is None or before.type != "KSamplerAdvanced":
        return
    if before["return_with_leftover_noise"] == "enable" and _stops_early(before):
        yield Finding(
            port,
            f"{_named(before)} returns its latent with noise left in it",
            "return_with_leftover_noise: disable, or go on with KSamplerAdvanced and add_noise off",
        )


@rule("KSamplerAdvanced")
def noise_twice(node: NodeView) -> Iterator[Finding]:
    """A latent with noise left gets no more, one without needs it."""
    before = node.origin("latent_image")
    if before is None or before.type != "KSamplerAdvanced":
        return
    left = before["return_with_leftover_noise"] == "enable" and _stops_early(before)
    added = node["add_noise"] == "enable"
    if left and added:
        text = f"{_named(before)} leaves noise in the latent, and this adds as much again"
        yield Finding("add_noise", text, "add_noise: disable")
    elif not left and node["add_noise"] == "disable" and node.number("start_at_step") > 0:
        text = f"{_named(before)} leaves no noise in the latent, and none is added"
        yield Finding("add_noise", text, "add_noise: enable, or leave the noise in before")


@rule("KSamplerAdvanced")
def no_steps(node: NodeView) -> Iterator[Finding]:
    """The range of steps is empty."""
    start = node.number("start_at_step")
    end = min(node.number("end_at_step"), node.number("steps"))
    if start >= end:
        yield Finding(
            "start_at_step",
            f"steps from {start:.0f} to {end:.0f} are none; the latent comes out as it went in",
            "start_at_step below end_at_step and steps",
        )


@rule("KSampler")
def no_change(node: NodeView) -> Iterator[Finding]:
    """Denoise 0 does nothing."""
    if node.number("denoise") == 0:
        text = "denoise 0 changes nothing; the latent comes out as it went in"
        yield Finding("denoise", text, "denoise above 0, or remove the pass")


@rule(*KSAMPLERS)
def negative_ignored(node: NodeView) -> Iterator[Finding]:
    """Without guidance the negative prompt is not asked."""
    negative = node.origin("negative")
    said = negative is not None and negative.type == "CLIPTextEncode" and negative["text"]
    if node.number("cfg") == 1 and said:
        text = "cfg 1 does not look at the negative prompt, which has a text"
        yield Finding("cfg", text, "cfg above 1, or an empty negative prompt")


@rule("ControlNetApply", "ControlNetApplyAdvanced", "ControlNetApplySD3")
def control_ignored(node: NodeView) -> Iterator[Finding]:
    """A ControlNet without strength or range."""
    if node.number("strength") == 0:
        yield Finding("strength", "strength 0 has no effect", "a strength above 0, or remove it")
    if node.number("start_percent") >= node.number("end_percent"):
        text = "it ends before it starts, and has no effect"
        yield Finding("start_percent", text, "start_percent below end_percent")


@rule("LoraLoader", "LoraLoaderModelOnly")
def lora_ignored(node: NodeView) -> Iterator[Finding]:
    """A LoRA without strength."""
    strengths = [node.number("strength_model")]
    if node.type == "LoraLoader":
        strengths.append(node.number("strength_clip"))
    if all(strength == 0 for strength in strengths):
        yield Finding(
            "strength_model", "strength 0 has no effect", "a strength above 0, or remove it"
        )


@rule(*IMAGES)
def round_trip(node: NodeView) -> Iterator[Finding]:
    """Decoding and encoding again loses a little each time."""
    before = node.origin("pixels")
    if before is not None and before.type in DECODERS:
        yield Finding(
            "pixels",
            f"the image was just decoded by {_named(before)}; each such round loses detail",
            "pass the latent on as it is",
        )


@rule("SetLatentNoiseMask")
def mask_over_nothing(node: NodeView) -> Iterator[Finding]:
    """Outside the mask stays what was there."""
    way = list(node.chain("samples", "samples"))
    if way and way[-1].type == "EmptyLatentImage":
        yield Finding(
            "mask",
            "outside the mask the latent stays as it is, and here it is empty: grey",
            "encode an image, or leave the mask out",
        )


@rule("SetLatentNoiseMask")
def mask_replaced(node: NodeView) -> Iterator[Finding]:
    """One latent has one mask."""
    before = next((each for each in node.chain("samples", "samples") if each.type in MASKING), None)
    if before is not None:
        text = f"this mask replaces that of {_named(before)}, which is ignored"
        yield Finding("mask", text, "join the masks with MaskComposite, or drop one of the two")


@rule("SetLatentNoiseMask", "VAEEncodeForInpaint")
def mask_stretched(node: NodeView) -> Iterator[Finding]:
    """A mask of another shape than its image's."""
    maker = node
    if node.type == "SetLatentNoiseMask":
        maker = [node, *node.chain("samples", "samples")][-1]
    mask = [node, *node.chain("mask", "mask")][-1]
    image = maker.origin("pixels")
    ours, theirs = _size(mask), _size(image)
    if ours is None or theirs is None:
        return
    if not any(_alike(ours, size) for size in (theirs, theirs[::-1])):
        shapes = [f"{width}×{height}" for width, height in (ours, theirs)]
        yield Finding(
            "mask",
            f"the mask is {shapes[0]} and the image {shapes[1]}; it will be stretched over it",
            "a mask of the image's proportions, or crop the image first",
        )


@rule(*KSAMPLERS)
def image_large(node: NodeView) -> Iterator[Finding]:
    """A photo is sampled at its full size, for which no model was trained."""
    encoder = node.origin("latent_image")
    size = _size(encoder.origin("pixels")) if encoder is not None else None
    tiled = any(each.type == "TiledDiffusion" for each in node.chain("model", "model"))
    if size is None or tiled or size[0] * size[1] <= MAX_AT_ONCE:
        return
    yield Finding(
        "latent_image",
        f"the image has {size[0]}×{size[1]} pixels, far more than models know; it takes long, "
        "much memory, and repeats what the prompt says",
        "ImageScaleToTotalPixels to 1 megapixel before it, or TiledDiffusion",
    )


def _size(node: NodeView | None) -> tuple[int, int] | None:
    """Width and height of the image that a node loads."""
    path = node.file("image") if node is not None and node.type in LOADERS else None
    if path is None:
        return None
    from latentloom.diffusion.images.image_files import check_file
    from latentloom.diffusion.images.image_limits import ImageFileError

    try:
        header = check_file(path)
    except ImageFileError:
        return None
    return header.width, header.height


def _alike(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two sizes have the same proportions, to a hundredth."""
    return abs(a[0] * b[1] - b[0] * a[1]) <= 0.01 * a[0] * b[1]


def _latent_way(node: NodeView) -> list[NodeView]:
    """From a sampler's latent up to where it was made: a sampler, an encoder, an empty latent."""
    return list(node.chain("latent_image", "samples"))


def _masked(way: list[NodeView]) -> bool:
    return any(each.type in MASKING for each in way)


def _seed(node: NodeView) -> tuple[str, int | None]:
    """The input that holds a sampler's seed, and the seed; None if it adds no noise."""
    port = "seed" if node.type == "KSampler" else "noise_seed"
    silent = node["add_noise"] == "disable" or node.number("denoise") == 0
    return port, None if silent else node[port]


def _stops_early(node: NodeView) -> bool:
    return node.number("end_at_step") < node.number("steps")


def _named(node: NodeView) -> str:
    return f"{node.type} ({node.id})"
