"""Model patches: changes of guidance and of attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Model, Percent, Share

if TYPE_CHECKING:
    from latentloom.diffusion.networks.patch import Patch

UNET = "model/patch/unet"
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


class PatchedModel(NamedTuple):
    """The output of Mahiro."""

    patched_model: Model


@node("RescaleCFG", category="model/patch")
def rescale_cfg(model: Model, multiplier: Share = 0.7) -> Model:
    """Rescale guidance to the contrast of the positive prediction; mainly for v-prediction models.

    Args:
        model: the model.
        multiplier: weight of the rescaled result, 0 to 1; 0 is off.

    Source: arXiv 2305.08891, section 3.4.
    """
    from latentloom.diffusion.patches.rescale import RescaleGuidance

    return _with(model, RescaleGuidance(multiplier))


@node("PerturbedAttentionGuidance", category=UNET)
def perturbed_attention_guidance(model: Model, scale: GuidanceScale = 3.0) -> Model:
    """Perturbed-attention guidance: guide away from a prediction without self-attention.

    Attention in the middle block is replaced by the identity. Needs one more model call per step.

    Args:
        model: the model.
        scale: strength of the guidance; 0 is off.

    Source: arXiv 2403.17377.
    """
    from latentloom.diffusion.patches.perturbed import PerturbedAttention

    return _with(model, PerturbedAttention(scale))


@node("SelfAttentionGuidance", category="experimental")
def self_attention_guidance(
    model: Model, scale: SelfAttentionScale = 0.5, blur_sigma: AttentionBlur = 2.0
) -> Model:
    """Self-attention guidance: guide away from a prediction blurred where attention is high.

    Needs one more model call per step, and the negative conditioning even at cfg 1.

    Args:
        model: the model.
        scale: strength of the guidance; 0 is off.
        blur_sigma: standard deviation of the blur in latent cells.

    Source: arXiv 2210.00939.
    """
    from latentloom.diffusion.patches.self_attention import SelfAttentionGuidance

    return _with(model, SelfAttentionGuidance(scale, blur_sigma))


@node("FreeU", category=UNET)
def free_u(model: Model, b1: Gain = 1.1, b2: Gain = 1.2, s1: Gain = 0.9, s2: Gain = 0.2) -> Model:
    """FreeU: amplify backbone features, damp low frequencies of skip connections.

    Args:
        model: the model.
        b1, b2: gain of half of the backbone features in the two lowest-resolution blocks.
        s1, s2: gain of the low frequencies of their skip connections.

    Source: arXiv 2309.11497.
    """
    from latentloom.diffusion.patches.freeu import FreeU

    return _with(model, FreeU(b1, b2, s1, s2, version=1))


@node("FreeU_V2", category=UNET)
def free_u_v2(
    model: Model, b1: Gain = 1.3, b2: Gain = 1.4, s1: Gain = 0.9, s2: Gain = 0.2
) -> Model:
    """FreeU version 2: the gain of the backbone features adapts to their values.

    Args:
        model: the model.
        b1, b2: largest gain of half of the backbone features in the two lowest-resolution blocks.
        s1, s2: gain of the low frequencies of their skip connections.

    Source: arXiv 2309.11497, version 2 of its repository.
    """
    from latentloom.diffusion.patches.freeu import FreeU

    return _with(model, FreeU(b1, b2, s1, s2))


@node("UNetSelfAttentionMultiply", category="experimental/attention_experiments")
def unet_self_attention_multiply(
    model: Model, q: Gain = 1.0, k: Gain = 1.0, v: Gain = 1.0, out: Gain = 1.0
) -> Model:
    """Multiply the projections of all self-attention layers.

    Args:
        model: the model.
        q, k, v, out: factor for the query, key, value and output projection.
    """
    from latentloom.diffusion.patches.attention_gain import AttentionGain

    return _with(model, AttentionGain(q, k, v, out))


@node("UNetCrossAttentionMultiply", category="experimental/attention_experiments")
def unet_cross_attention_multiply(
    model: Model, q: Gain = 1.0, k: Gain = 1.0, v: Gain = 1.0, out: Gain = 1.0
) -> Model:
    """Multiply the projections of all cross-attention layers, which attend to the prompt.

    Args:
        model: the model.
        q, k, v, out: factor for the query, key, value and output projection.
    """
    from latentloom.diffusion.patches.attention_gain import CROSS, AttentionGain

    return _with(model, AttentionGain(q, k, v, out, CROSS))


@node("FreSca", category="experimental")
def fresca(
    model: Model, scale_low: Gain = 1.0, scale_high: Gain = 1.25, freq_cutoff: FrequencyCutoff = 20
) -> Model:
    """FreSca: scale low and high frequencies of the guidance separately.

    Args:
        model: the model.
        scale_low: gain of the low frequencies.
        scale_high: gain of the high frequencies.
        freq_cutoff: boundary between them, in bins of the latent's Fourier transform.

    Source: arXiv 2504.02154.
    """
    from latentloom.diffusion.patches.frequency import FrequencyGuidance

    return _with(model, FrequencyGuidance(scale_low, scale_high, freq_cutoff))


@node("Mahiro", category="experimental")
def mahiro(model: Model) -> PatchedModel:
    """Guide along the positive prediction where it disagrees with the negative one.

    Args:
        model: the model.

    Source: ComfyUI's Mahiro; here each image of a batch is compared separately.
    """
    from latentloom.diffusion.patches.mahiro import MahiroGuidance

    return PatchedModel(_with(model, MahiroGuidance()))


@node("TomePatchModel", category=UNET)
def tome_patch_model(model: Model, ratio: Share = 0.3) -> Model:
    """Token merging: merge similar tokens in self-attention, for speed at a loss of detail.

    Applies to attention layers at full latent resolution only; SDXL has none.

    Args:
        model: the model.
        ratio: fraction of the tokens to merge, 0 to 1; 0 is off.

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
    """HyperTile: limit self-attention to tiles, which speeds up large images.

    Args:
        model: the model.
        tile_size: smallest side of a tile in pixels; raised to 32.
        swap_size: number of smallest tile sizes considered; each call draws one at random,
            never the last.
        max_depth: number of downsampled resolutions that are tiled too; 0 tiles only the full
            resolution.
        scale_depth: use proportionally larger tiles at lower resolutions.

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
    """Deep shrink: downscale inner features early in sampling, for images above native size.

    Args:
        model: the model.
        block_number: the input block whose features are downscaled; no effect past the last.
        downscale_factor: factor by which both sides shrink.
        start_percent, end_percent: range of the sampling in which it is active; 0 is the start
            (pure noise), 1 the end.
        downscale_after_skip: keep the size of that block's skip connection.
        downscale_method, upscale_method: the resampling filters.

    Source: kohya's deep shrink.
    """
    from latentloom.diffusion.patches.downscale import Downscale

    patch = Downscale(
        block_number,
        downscale_factor,
        start=start_percent,
        end=end_percent,
        after_skip=downscale_after_skip,
        down=downscale_method,
        up=upscale_method,
    )
    return _with(model, patch)


def _with(model: Model, patch: Patch) -> Model:
    from dataclasses import replace

    return replace(model, patches=(*model.patches, patch))
