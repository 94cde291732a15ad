"""The graph of A1111's `parameters`: the same model, prompts and settings, in ComfyUI's nodes.

A1111 normalises the weights of prompts and draws noise on the GPU, so that the images are alike,
not equal. What no node holds is listed in the document of the graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ..graph.graph import Document, Graph, GraphInput, InputRef, LeftOut, Link
from ..graph.records import SETTINGS_FORM
from ..node.spec import NodeSpec
from .a1111_names import DEFAULT_SAMPLER, DEFAULT_SCHEDULE
from .a1111_passes import details, hires, read_sampling
from .a1111_text import Network, Parameters, read_prompt_text
from .a1111_writer import NO_NODE, SETTING, Base, Models, PassSettings, SettingsWriter
from .names import slug

# The program, and digests of files: they are written into the description.
ORIGIN = (
    "Version", "Model hash", "VAE hash", "Lora hashes", "TI hashes", "Hashes", "User",
    "ADetailer version",
)  # fmt: skip
MAX_SEED = 2**64 - 1
MAX_EMBEDDINGS, MAX_NETWORKS = 100, 100
SIDE_PX, MAX_SIDE_PX = 512, 16_384
SOURCE = "image"


def parameters_graph(parameters: Parameters, specs: Mapping[str, NodeSpec]) -> Graph:
    """Return the graph of parameters; its document lists the settings that it does not hold."""
    writer = SettingsWriter(specs, dict(parameters.settings))
    origin = {key: writer.take(key) for key in ORIGIN}
    embeddings = _embeddings(origin["TI hashes"])
    prompts = [
        read_prompt_text(text, embeddings) for text in (parameters.prompt, parameters.negative)
    ]
    models = _models(writer, prompts[0].networks + prompts[1].networks)
    width, height = _size(writer)
    base = Base(
        models=models,
        positive=writer.prompt("positive", prompts[0].text, models),
        negative=writer.prompt("negative", prompts[1].text, models),
        texts=(prompts[0].text, prompts[1].text),
        width=width,
        height=height,
        settings=_settings(writer),
    )
    image = details(writer, base, _decoded(writer, base))
    writer.add("save", "SaveImage", images=image, filename_prefix="ComfyUI")
    for name, value in writer.settings.items():
        writer.skip(name, value)
    shown = "; ".join(f"{key}: {value}" for key, value in origin.items() if value)
    document = Document(SETTINGS_FORM, MappingProxyType({}), tuple(writer.left_out))
    description = f"Read from A1111's parameters. {shown}".strip()
    return Graph(writer.nodes, writer.inputs, description=description, document=document)


def _embeddings(hashes: str) -> tuple[str, ...]:
    """Return the names in `name: digest, name: digest`."""
    names = [piece.rpartition(":")[0].strip() for piece in hashes.split(",")]
    return tuple(dict.fromkeys(name for name in names if name))[:MAX_EMBEDDINGS]


def _models(writer: SettingsWriter, networks: tuple[Network, ...]) -> Models:
    """Add the checkpoint, the VAE, each LoRA once, and clip skip after them."""
    name = writer.take("Model")
    if not name:
        writer.skip("Model", "none", "set ckpt_name")
    file = writer.file("CheckpointLoaderSimple", "ckpt_name", name) if name else ""
    id = writer.add("model", "CheckpointLoaderSimple", ckpt_name=file)
    models = Models(Link(id, "MODEL"), Link(id, "CLIP"), Link(id, "VAE"))
    vae = writer.take("VAE")
    if vae and vae.lower() not in ("automatic", "none"):
        vae_name = writer.file("VAELoader", "vae_name", vae)
        models = models._replace(vae=Link(writer.add("vae", "VAELoader", vae_name=vae_name), "VAE"))
    for network in dict.fromkeys(networks):
        if network.kind in ("lora", "lyco"):
            models = _with_lora(writer, models, network)
        else:
            shown = f"<{network.kind}:{network.name}>"
            writer.left_out.append(LeftOut("", SETTING, f"{shown} ({NO_NODE})"))
    skipped = writer.integer("Clip skip", 1, 1, 24)
    if skipped > 1:
        layer = {"clip": models.clip, "stop_at_clip_layer": -skipped}
        models = models._replace(clip=Link(writer.add("clip", "CLIPSetLastLayer", **layer), "CLIP"))
    return models


def _with_lora(writer: SettingsWriter, models: Models, network: Network) -> Models:
    id = writer.add(
        slug(f"lora {network.name}"), "LoraLoader", model=models.model, clip=models.clip,
        lora_name=writer.file("LoraLoader", "lora_name", network.name),
        strength_model=network.model_weight, strength_clip=network.clip_weight,
    )  # fmt: skip
    return Models(Link(id, "MODEL"), Link(id, "CLIP"), models.vae)


def _size(writer: SettingsWriter) -> tuple[int, int]:
    text = writer.take("Size")
    width, _, height = text.partition("x")
    if width.isdecimal() and height.isdecimal() and len(text) <= 11:
        sides = int(width), int(height)
        if all(8 <= side <= MAX_SIDE_PX for side in sides):
            return sides
    if text:
        writer.skip("Size", text, f"expected WIDTHxHEIGHT; {SIDE_PX}x{SIDE_PX} is used")
    return SIDE_PX, SIDE_PX


def _settings(writer: SettingsWriter) -> PassSettings:
    """Take the settings of the first pass; without a second, `denoise` is its own."""
    settings = PassSettings(
        seed=writer.integer("Seed", 0, 0, MAX_SEED),
        steps=writer.integer("Steps", 20, 1, 10_000),
        cfg=writer.number("CFG scale", 7.0, 0.0, 100.0),
        sampler_name=DEFAULT_SAMPLER,
        scheduler=DEFAULT_SCHEDULE,
        denoise=writer.number("Denoising strength", 1.0, 0.0, 1.0),
    )
    return read_sampling(writer, "Sampler", "Schedule type", settings)


def _decoded(writer: SettingsWriter, base: Base) -> Link:
    """Add the passes and return the decoded image."""
    has_hires = "Hires upscale" in writer.settings or "Hires resize" in writer.settings
    if has_hires:
        latent = writer.sample(
            "sample", replace(base.settings, denoise=1.0), base, _empty(writer, base)
        )
        latent = hires(writer, base, latent)
    else:
        is_new = base.settings.denoise == 1.0
        start = _empty(writer, base) if is_new else _source(writer, base)
        latent = writer.sample("sample", base.settings, base, start)
    return Link(writer.add("decode", "VAEDecode", samples=latent, vae=base.models.vae), "IMAGE")


def _empty(writer: SettingsWriter, base: Base) -> Link:
    size = {"width": base.width, "height": base.height, "batch_size": 1}
    return Link(writer.add("latent", "EmptyLatentImage", **size), "LATENT")


def _source(writer: SettingsWriter, base: Base) -> Link:
    """Add the source of an image to image pass, which the text does not have."""
    writer.inputs[SOURCE] = GraphInput("image", description="The image that A1111 started from.")
    writer.skip("source image", "not in the text", f"give it as --input {SOURCE}=FILE")
    image = Link(writer.add(SOURCE, "LoadImage", image=InputRef(SOURCE)), "IMAGE")
    size = {"width": base.width, "height": base.height, "crop": "center"}
    id = writer.add("scale", "ImageScale", image=image, upscale_method="lanczos", **size)
    encoded = writer.add("encode", "VAEEncode", pixels=Link(id, "IMAGE"), vae=base.models.vae)
    return Link(encoded, "LATENT")
