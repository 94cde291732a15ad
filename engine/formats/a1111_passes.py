"""The passes of A1111 after the first: high resolution, and ADetailer."""

from __future__ import annotations

from dataclasses import replace

from ..graph.graph import Link
from .a1111_names import IMAGE_UPSCALERS, LATENT_UPSCALERS, UPSCALE_MODELS, sampling
from .a1111_text import read_prompt_text
from .a1111_writer import Base, PassSettings, SettingsWriter

MAX_SIDE_PX = 16_384
SUFFIXES = ("", " 2nd", " 3rd", " 4th")
SAME = ("", "Use same sampler", "Use same scheduler", "Use same checkpoint")
FACE_DETECTOR = "FaceDetector"
DETAIL_NODES = (FACE_DETECTOR, "DetectToMask", "InpaintCrop", "InpaintStitch", "IfFound")


def read_sampling(
    writer: SettingsWriter, sampler_key: str, schedule_key: str, settings: PassSettings
) -> PassSettings:
    """Take the sampler and the schedule of a pass; what has no name here stays as it is."""
    name, schedule = writer.take(sampler_key), writer.take(schedule_key)
    if name in SAME and schedule in SAME:
        return settings
    chosen = sampling("" if name in SAME else name, "" if schedule in SAME else schedule)
    if name not in SAME and not chosen.sampler:
        writer.skip(sampler_key, name, f"{settings.sampler_name} is used")
    if not chosen.schedule:
        writer.skip(schedule_key, schedule, f"{settings.scheduler} is used")
    return replace(
        settings,
        sampler_name=chosen.sampler or settings.sampler_name,
        scheduler=chosen.schedule or settings.scheduler,
    )


def with_prompts(writer: SettingsWriter, key_of: str, id: str, base: Base) -> Base:
    """Take the prompts of a pass, which are those of the first one if they are empty.

    Args:
        key_of: the names of its settings, with `{}` where `prompt` stands.
    """
    links = []
    for index, (key, link) in enumerate(
        (("prompt", base.positive), ("negative prompt", base.negative))
    ):
        text = writer.take(key_of.format(key)).replace("[PROMPT]", base.texts[index])
        read = read_prompt_text(text)
        for network in read.networks:
            writer.skip(key_of.format(key), f"<{network.kind}:{network.name}>", "not in this pass")
        same = not read.text or read.text == base.texts[index]
        role = ("positive", "negative")[index]
        links.append(link if same else writer.prompt(f"{id}_{role}", read.text, base.models))
    return replace(base, positive=links[0], negative=links[1])


def hires(writer: SettingsWriter, base: Base, latent: Link) -> Link:
    """Add the pass at high resolution, and return its latent."""
    width, height = _target(writer, base)
    name = writer.take("Hires upscaler") or "Latent"
    method = LATENT_UPSCALERS.get(name.lower().replace(" antialiased", ""))
    size = {"width": width, "height": height, "crop": "disabled"}
    if method:
        id = writer.add("upscale", "LatentUpscale", samples=latent, upscale_method=method, **size)
        larger = Link(id, "LATENT")
    else:
        larger = _upscale_image(writer, name, size, base, latent)
    settings = replace(base.settings, steps=writer.integer("Hires steps", 0, 0, 10_000))
    if not settings.steps:
        settings = replace(settings, steps=base.settings.steps)
    cfg = writer.number("Hires CFG Scale", settings.cfg, 0.0, 100.0)
    settings = replace(settings, cfg=cfg)
    settings = read_sampling(writer, "Hires sampler", "Hires schedule type", settings)
    return writer.sample("hires", settings, with_prompts(writer, "Hires {}", "hires", base), larger)


def _target(writer: SettingsWriter, base: Base) -> tuple[int, int]:
    """Return the size in pixels after the upscaling, from a factor or a size."""
    resize, factor = writer.take("Hires resize"), writer.number("Hires upscale", 2.0, 0.1, 16.0)
    width, _, height = resize.partition("x")
    if width.isdecimal() and height.isdecimal() and len(resize) <= 11:
        sides = int(width), int(height)
    else:
        sides = round(base.width * factor), round(base.height * factor)
    # One side of 0 follows from the other.
    sides = sides[0] or round(base.width * sides[1] / base.height), sides[1]
    sides = sides[0], sides[1] or round(base.height * sides[0] / base.width)
    return (_round_to_latent(sides[0]), _round_to_latent(sides[1]))


def _round_to_latent(side_px: int) -> int:
    return min(MAX_SIDE_PX, max(8, side_px // 8 * 8))


def _upscale_image(
    writer: SettingsWriter, name: str, size: dict[str, object], base: Base, latent: Link
) -> Link:
    decoded = writer.add("first", "VAEDecode", samples=latent, vae=base.models.vae)
    image, method = Link(decoded, "IMAGE"), IMAGE_UPSCALERS.get(name.lower(), "lanczos")
    if name.lower() not in (*IMAGE_UPSCALERS, "none"):
        model = UPSCALE_MODELS.get(name.lower(), name)
        file = writer.file("UpscaleModelLoader", "model_name", model, ".pth")
        loader = writer.add("upscaler", "UpscaleModelLoader", model_name=file)
        link = Link(loader, "UPSCALE_MODEL")
        id = writer.add("upscaled", "ImageUpscaleWithModel", upscale_model=link, image=image)
        image = Link(id, "IMAGE")
    id = writer.add("upscale", "ImageScale", image=image, upscale_method=method, **size)
    encoded = writer.add("encode", "VAEEncode", pixels=Link(id, "IMAGE"), vae=base.models.vae)
    return Link(encoded, "LATENT")


def details(writer: SettingsWriter, base: Base, image: Link) -> Link:
    """Add the passes of ADetailer whose nodes are installed, and return the final image."""
    has_nodes = all(map(writer.has, DETAIL_NODES))
    for suffix in SUFFIXES:
        model = writer.settings.get(f"ADetailer model{suffix}", "")
        if "face" in model.lower() and has_nodes:
            image = _detail(writer, suffix, base, image)
    return image


def _detail(writer: SettingsWriter, suffix: str, base: Base, image: Link) -> Link:
    """Add the pass for detected faces: crop, sample, and stitch."""

    def number(name: str, default: int, low: int, high: int) -> int:
        return writer.integer(f"ADetailer {name}{suffix}", default, low, high)

    model = writer.take(f"ADetailer model{suffix}")
    writer.skip(f"ADetailer model{suffix}", model, f"{FACE_DETECTOR} finds the faces")
    confidence = writer.number(f"ADetailer confidence{suffix}", 0.3, 0.0, 1.0)
    detector = Link(writer.add("detector", FACE_DETECTOR), "DETECTOR")
    detect = writer.add(
        "detect", "DetectToMask", detector=detector, image=image, threshold=confidence,
        dilation=number("dilate erode", 4, 0, 256),
    )  # fmt: skip
    crop = writer.add(
        "crop", "InpaintCrop", image=image, mask=Link(detect, "MASK"), islands="apart",
        model=base.models.model, blend_pixels=number("mask blur", 4, 0, 64),
        context_expand_pixels=number("inpaint padding", 32, 0, 256),
    )  # fmt: skip
    writer.take(f"ADetailer inpaint only masked{suffix}")  # what InpaintCrop does
    denoise = writer.number(f"ADetailer denoising strength{suffix}", 0.4, 0.0, 1.0)
    steps = number("steps", base.settings.steps, 1, 10_000)
    cfg = writer.number(f"ADetailer CFG scale{suffix}", base.settings.cfg, 0.0, 100.0)
    settings = replace(base.settings, denoise=denoise, steps=steps, cfg=cfg)
    keys = (f"ADetailer sampler{suffix}", f"ADetailer scheduler{suffix}")
    settings = read_sampling(writer, *keys, settings)
    pixels = Link(crop, "cropped_image")
    encoded = writer.add("encode", "VAEEncode", pixels=pixels, vae=base.models.vae)
    mask = Link(crop, "cropped_mask")
    masked = writer.add("masked", "SetLatentNoiseMask", samples=Link(encoded, "LATENT"), mask=mask)
    prompts = with_prompts(writer, f"ADetailer {{}}{suffix}", "detail", base)
    latent = writer.sample("detail", settings, prompts, Link(masked, "LATENT"))
    decoded = writer.add("decode_detail", "VAEDecode", samples=latent, vae=base.models.vae)
    stitched = Link(
        writer.add(
            "stitch", "InpaintStitch", stitch=Link(crop, "stitch"),
            inpainted_image=Link(decoded, "IMAGE"),
        ), "IMAGE",
    )  # fmt: skip
    id = writer.add(
        "result", "IfFound", detections=Link(detect, "detections"), image=image, detailed=stitched
    )
    return Link(id, "IMAGE")
