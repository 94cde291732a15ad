"""Lint rules about sampling settings that do not fit the model's family."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from latentloom.engine.graph.lint import Finding, NodeView, rule

if TYPE_CHECKING:
    from latentloom.diffusion.families.family import Family

KSAMPLERS = ("KSampler", "KSamplerAdvanced")
EMPTY_LATENTS = ("EmptyLatentImage", "EmptySD3LatentImage")
MODEL_FILES = ("unet_name", "ckpt_name", "model_path")
GUIDANCE_NODES = ("FluxGuidance", "FluxDisableGuidance", "CLIPTextEncodeFlux")
ENCODERS = ("CLIPTextEncode",)
# Inputs by which conditioning passes through a node.
CONDITIONING_INPUTS = ("conditioning", "positive", "conditioning_1", "conditioning_to")
# Below this share of the area that a model was trained at, images fall apart.
MIN_AREA = 0.4


@rule(*KSAMPLERS)
def cfg_of_distilled_model(node: NodeView) -> Iterator[Finding]:
    """A distilled model is meant for one value of cfg."""
    family, cfg = _family(node), node.number("cfg")
    if family is None or family.cfg is None or not cfg > family.cfg:
        return
    yield Finding(
        "cfg",
        f"{family.label} is distilled for cfg {family.cfg:g}; cfg {cfg:g} takes twice the time and "
        "exaggerates colours",
        f"cfg {family.cfg:g}" + ("" if family.guidance is None else ", and FluxGuidance"),
    )


@rule(*KSAMPLERS)
def guidance_not_set(node: NodeView) -> Iterator[Finding]:
    """A model that takes guidance as a number gets a default without FluxGuidance."""
    family = _family(node)
    if family is None or family.guidance is None:
        return
    types = [upstream.type for upstream in _conditioning_chain(node)]
    if types and types[-1] in ENCODERS and not {*types} & {*GUIDANCE_NODES}:
        yield Finding(
            "positive",
            f"{family.label} takes guidance as a number, and nothing sets it; 3.5 is used",
            f"FluxGuidance after the prompt, with about {family.guidance:g}",
        )


@rule(*KSAMPLERS)
def image_small(node: NodeView) -> Iterator[Finding]:
    """An image is far smaller than those that the model was trained on."""
    family, latent = _family(node), node.origin("latent_image")
    if family is None or latent is None or latent.type not in EMPTY_LATENTS:
        return
    width, height = latent.number("width"), latent.number("height")
    side = family.native_size
    if width * height < MIN_AREA * side**2:
        yield Finding(
            "latent_image",
            f"the image has {width:g}×{height:g} pixels; {family.label} was trained at "
            f"{side}×{side}, and smaller images fall apart",
            f"about {side}×{side} pixels, then resize the image",
        )


def _family(node: NodeView) -> Family | None:
    """Return the family of a sampler's model; None if its file is not known or not readable."""
    from latentloom.diffusion.errors import ModelFileError
    from latentloom.diffusion.weights.detect import detect_checkpoint_family

    loaders = list(node.chain("model", "model"))
    files = [loaders[-1].file(port) for port in MODEL_FILES] if loaders else []
    for file in files:
        if file is not None:
            try:
                return detect_checkpoint_family(file)
            except ModelFileError:
                return None
    return None


def _conditioning_chain(node: NodeView) -> list[NodeView]:
    """Return the nodes upstream of the positive conditioning, by its first input each."""
    chain: list[NodeView] = []
    upstream = node.origin("positive")
    while upstream is not None and upstream.id not in [earlier.id for earlier in chain[-64:]]:
        chain.append(upstream)
        origins = (upstream.origin(port) for port in CONDITIONING_INPUTS)
        upstream = next((origin for origin in origins if origin is not None), None)
    return chain
