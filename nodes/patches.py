"""Patches of a model: what guidance and network do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from engine.ports import Between
from engine.spec import node

from .ports import Model, Share

if TYPE_CHECKING:
    from diffusion.patching import Patch

UNET = "model_patches/unet"
Gain = Annotated[float, Between(0.0, 10.0, step=0.01)]
Guidance = Annotated[float, Between(0.0, 100.0, step=0.01)]
SelfGuidance = Annotated[float, Between(-2.0, 5.0, step=0.01)]
Blur = Annotated[float, Between(0.0, 10.0, step=0.1)]


@node("RescaleCFG", category="advanced/model")
def rescale_cfg(model: Model, multiplier: Share = 0.7) -> Model:
    """Take back the contrast that guidance adds, for models of velocity above all.

    Args:
        model: the model.
        multiplier: share of the rescaled result; 0 is plain guidance.

    Source: arXiv 2305.08891, section 3.4.
    """
    from diffusion.patches.rescale import RescaleGuidance

    return _with(model, RescaleGuidance(multiplier))


@node("PerturbedAttentionGuidance", category=UNET)
def perturbed_attention_guidance(model: Model, scale: Guidance = 3.0) -> Model:
    """Guide away from what the model says when its middle block attends to nothing else.

    One call more a step.

    Args:
        model: the model.
        scale: how far; 0 is none.

    Source: arXiv 2403.17377.
    """
    from diffusion.patches.perturbed import PerturbedAttention

    return _with(model, PerturbedAttention(scale))


@node("SelfAttentionGuidance", category="_for_testing")
def self_attention_guidance(
    model: Model, scale: SelfGuidance = 0.5, blur_sigma: Blur = 2.0
) -> Model:
    """Guide away from a picture that is blurred where the model looks.

    One call more a step; the negative side is asked at cfg 1 too.

    Args:
        model: the model.
        scale: how far; 0 is none.
        blur_sigma: of the blur, in latent cells.

    Source: arXiv 2210.00939.
    """
    from diffusion.patches.self_attention import SelfAttentionGuidance

    return _with(model, SelfAttentionGuidance(scale, blur_sigma))


@node("FreeU", category=UNET)
def free_u(model: Model, b1: Gain = 1.1, b2: Gain = 1.2, s1: Gain = 0.9, s2: Gain = 0.2) -> Model:
    """Stronger features from below, weaker low frequencies from the skips.

    Args:
        model: the model.
        b1, b2: gain of half of the features in the lowest and the next levels.
        s1, s2: gain of the lowest frequencies of the skips there.

    Source: arXiv 2309.11497.
    """
    from diffusion.patches.freeu import FreeU

    return _with(model, FreeU(b1, b2, s1, s2, version=1))


@node("FreeU_V2", category=UNET)
def free_u_v2(
    model: Model, b1: Gain = 1.3, b2: Gain = 1.4, s1: Gain = 0.9, s2: Gain = 0.2
) -> Model:
    """FreeU whose gain follows the features.

    Args:
        model: the model.
        b1, b2: largest gain of half of the features in the lowest and the next levels.
        s1, s2: gain of the lowest frequencies of the skips there.

    Source: arXiv 2309.11497, version 2 of its repository.
    """
    from diffusion.patches.freeu import FreeU

    return _with(model, FreeU(b1, b2, s1, s2))


@node("UNetSelfAttentionMultiply", category="_for_testing/attention_experiments")
def unet_self_attention_multiply(
    model: Model, q: Gain = 1.0, k: Gain = 1.0, v: Gain = 1.0, out: Gain = 1.0
) -> Model:
    """Multiply the projections of self-attention.

    Args:
        model: the model.
        q, k, v, out: the gain of what is asked, offered, taken and given.
    """
    from diffusion.patches.attention_gain import AttentionGain

    return _with(model, AttentionGain(q, k, v, out))


def _with(model: Model, patch: Patch) -> Model:
    from dataclasses import replace

    return replace(model, patches=(*model.patches, patch))
