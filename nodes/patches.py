"""Patches of a model: what guidance and network do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Model, Percent, Share

if TYPE_CHECKING:
    from latentloom.diffusion.networks.patch import Patch

UNET = "model_patches/unet"
Gain = Annotated[float, Between(0.0, 10.0, step=0.01)]
GuidanceScale = Annotated[float, Between(0.0, 100.0, step=0.01)]
SelfAttentionScale = Annotated[float, Between(-2.0, 5.0, step=0.01)]
FrequencyCutoff = Annotated[int, Between(1, 10_000)]
BlockNumber = Annotated[int, Between(1, 32)]
DownscaleFactor = Annotated[float, Between(0.1, 9.0, step=0.001)]
DownscaleMethod = Literal["bicubic", "nearest-exact", "bilinear", "area", "bislerp"]
AttentionTile = Annotated[int, Between(1, 2048)]
SwapSize = Annotated[int, Between(1, 128)]
TilingDepth = Annotated[int, Between(0, 10)]
AttentionBlur = Annotated[float, Between(0.0, 10.0, step=0.1)]


class Patched(NamedTuple):
    """The output of Mahiro."""

    patched_model: Model


@node("RescaleCFG", category="advanced/model")
def rescale_cfg(model: Model, multiplier: Share = 0.7) -> Model:
    """Take back the contrast that guidance adds, for models of velocity above all.

    Args:
        model: the model.
        multiplier: share of the rescaled result; 0 is plain guidance.

    Source: arXiv 2305.08891, section 3.4.
    """
    from latentloom.diffusion.patches.rescale import RescaleGuidance

    return _with(model, RescaleGuidance(multiplier))


@node("PerturbedAttentionGuidance", category=UNET)
def perturbed_attention_guidance(model: Model, scale: GuidanceScale = 3.0) -> Model:
    """Guide away from what the model says when its middle block attends to nothing else.

    One call more a step.

    Args:
        model: the model.
        scale: how far; 0 is none.

    Source: arXiv 2403.17377.
    """
    from latentloom.diffusion.patches.perturbed import PerturbedAttention

    return _with(model, PerturbedAttention(scale))


@node("SelfAttentionGuidance", category="_for_testing")
def self_attention_guidance(
    model: Model, scale: SelfAttentionScale = 0.5, blur_sigma: AttentionBlur = 2.0
) -> Model:
    """Guide away from an image that is blurred where the model looks.

    One call more a step; the negative side is asked at cfg 1 too.

    Args:
        model: the model.
        scale: how far; 0 is none.
        blur_sigma: of the blur, in latent cells.

    Source: arXiv 2210.00939.
    """
    from latentloom.diffusion.patches.self_attention import SelfAttentionGuidance

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
    from latentloom.diffusion.patches.freeu import FreeU

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
    from latentloom.diffusion.patches.freeu import FreeU

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
    from latentloom.diffusion.patches.attention_gain import AttentionGain

    return _with(model, AttentionGain(q, k, v, out))


@node("FreSca", category="_for_testing")
def fresca(
    model: Model, scale_low: Gain = 1.0, scale_high: Gain = 1.25, freq_cutoff: FrequencyCutoff = 20
) -> Model:
    """Scale guidance by frequency: its broad strokes and its details.

    Args:
        model: the model.
        scale_low: gain of the low frequencies.
        scale_high: gain of the high ones.
        freq_cutoff: where they part, in steps of the Fourier transform of a latent.

    Source: arXiv 2504.02154.
    """
    from latentloom.diffusion.patches.frequency import FrequencyGuidance

    return _with(model, FrequencyGuidance(scale_low, scale_high, freq_cutoff))


@node("Mahiro", category="_for_testing")
def mahiro(model: Model) -> Patched:
    """Guide by the direction of the positive prompt where the two sides disagree.

    Args:
        model: the model.

    Source: ComfyUI's Mahiro, which takes a batch as one.
    """
    from latentloom.diffusion.patches.mahiro import MahiroGuidance

    return Patched(_with(model, MahiroGuidance()))


@node("TomePatchModel", category=UNET)
def tome_patch_model(model: Model, ratio: Share = 0.3) -> Model:
    """Let places that look alike share what they ask for: faster, and a little less exact.

    Only layers that attend to all cells of a latent are changed; SDXL has none.

    Args:
        model: the model.
        ratio: share of the places that ask no more; 0 is none.

    Source: arXiv 2303.17604.
    """
    from latentloom.diffusion.patches.token_merging import TokenMerging

    return _with(model, TokenMerging(ratio))


@node("HyperTile", category=UNET)
def hyper_tile(
    model: Model,
    tile_size: AttentionTile = 256,
    swap_size: SwapSize = 2,
    max_depth: TilingDepth = 0,
    scale_depth: bool = False,
) -> Model:
    """Let each place look at a part of the image only, which makes large ones cheaper.

    Args:
        model: the model.
        tile_size: least side of a tile in pixels; below 32 it is 32.
        swap_size: a tile's side is drawn at each call from so many of the smallest but the last.
        max_depth: layers are tiled down to half the grid this many times.
        scale_depth: on a smaller grid tiles have as many more pixels a side.

    Source: tfernd's HyperTile, as in ComfyUI.
    """
    from latentloom.diffusion.patches.hypertile import HyperTile

    return _with(model, HyperTile(tile_size, swap_size, max_depth, scale_depth))


@node("PatchModelAddDownscale", category=UNET)
def patch_model_add_downscale(
    model: Model,
    block_number: BlockNumber = 3,
    downscale_factor: DownscaleFactor = 2.0,
    start_percent: Percent = 0.0,
    end_percent: Percent = 0.35,
    downscale_after_skip: bool = True,
    downscale_method: DownscaleMethod = "bicubic",
    upscale_method: DownscaleMethod = "bicubic",
) -> Model:
    """Let a model compose an image larger than it learned, by working on fewer cells first.

    Args:
        model: the model.
        block_number: from which block of the first half on; past the last, none.
        downscale_factor: by which both sides shrink.
        start_percent, end_percent: shares of the way between which it shrinks.
        downscale_after_skip: the skip of that block keeps its size.
        downscale_method, upscale_method: how it is shrunk and grown again.

    Source: kohya's deep shrink.
    """
    from latentloom.diffusion.patches.downscale import Downscale

    patch = Downscale(
        block_number,
        downscale_factor,
        start_percent,
        end_percent,
        downscale_after_skip,
        downscale_method,
        upscale_method,
    )
    return _with(model, patch)


def _with(model: Model, patch: Patch) -> Model:
    from dataclasses import replace

    return replace(model, patches=(*model.patches, patch))
