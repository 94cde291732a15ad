"""Model patches that change guidance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Cfg, Model, Percent

if TYPE_CHECKING:
    from latentloom.diffusion.networks.patch import Patch

GUIDANCE = "advanced/guidance"
Eta = Annotated[float, Between(-10.0, 10.0, step=0.01)]
NormLimit = Annotated[float, Between(0.0, 50.0, step=0.1)]
Momentum = Annotated[float, Between(-5.0, 1.0, step=0.01)]
Strength = Annotated[float, Between(0.0, 100.0, step=0.01)]
ScalingFactor = Annotated[float, Between(0.5, 1.5, step=0.001)]
Temperature = Annotated[float, Between(0.01, 100.0, step=0.001)]


class GuidedModel(NamedTuple):
    """A model with changed guidance."""

    patched_model: Model


@node("APG", category="model/sampling/custom")
def apg(
    model: Model, eta: Eta = 1.0, norm_threshold: NormLimit = 5.0, momentum: Momentum = 0.0
) -> Model:
    """Adaptive projected guidance: strong guidance with less oversaturation.

    Args:
        model: the model.
        eta: share of the guidance along the positive prediction; 0 saturates least.
        norm_threshold: largest length of the guidance of an image; 0 has no limit.
        momentum: share of the guidance of earlier steps that is added.

    Source: arXiv 2410.02416.
    """
    from latentloom.diffusion.patches.projection import ProjectedGuidance

    return _with(model, ProjectedGuidance(eta, norm_threshold, momentum))


@node("TCFG", category=GUIDANCE)
def tcfg(model: Model) -> GuidedModel:
    """Tangential damping: of the negative prediction keep what both predictions share.

    Args:
        model: the model.

    Source: arXiv 2503.18137.
    """
    from latentloom.diffusion.patches.projection import TangentialDamping

    return GuidedModel(_with(model, TangentialDamping()))


@node("CFGZeroStar", category=GUIDANCE)
def cfg_zero_star(model: Model) -> GuidedModel:
    """CFG-Zero*: scale the negative prediction to the positive one before guidance.

    Args:
        model: the model.

    Source: arXiv 2503.18886.
    """
    from latentloom.diffusion.patches.projection import ZeroStarGuidance

    return GuidedModel(_with(model, ZeroStarGuidance()))


@node("CFGNorm", category=GUIDANCE)
def cfg_norm(model: Model, strength: Strength = 1.0) -> GuidedModel:
    """Limit the guided prediction of each latent cell to the length of the positive one.

    Args:
        model: the model.
        strength: factor on the result.
    """
    from latentloom.diffusion.patches.norm_limits import CellNormLimit

    return GuidedModel(_with(model, CellNormLimit(strength)))


@node("RenormCFG", category="model/patch")
def renorm_cfg(model: Model, cfg_trunc: Strength = 100.0, renorm_cfg: Strength = 1.0) -> Model:
    """Guide below a sigma, and limit the result to the length of the positive prediction.

    Args:
        model: the model.
        cfg_trunc: the sigma from which on the positive prediction is used alone.
        renorm_cfg: the limit, in lengths of the positive prediction; 0 has no limit.

    Source: arXiv 2503.21758.
    """
    from latentloom.diffusion.patches.norm_limits import RenormalizedGuidance

    return _with(model, RenormalizedGuidance(cfg_trunc, renorm_cfg))


@node("Epsilon Scaling", category="model/patch/unet")
def epsilon_scaling(model: Model, scaling_factor: ScalingFactor = 1.005) -> Model:
    """Divide the predicted noise, against exposure bias.

    Args:
        model: the model.
        scaling_factor: the divisor.

    Source: arXiv 2308.15321.
    """
    from latentloom.diffusion.patches.score_scale import EpsilonScaling

    return _with(model, EpsilonScaling(scaling_factor))


@node("TemporalScoreRescaling", category="model/patch/unet")
def temporal_score_rescaling(
    model: Model, tsr_k: Temperature = 0.95, tsr_sigma: Temperature = 1.0
) -> GuidedModel:
    """Scale the predicted noise over time, so that images vary less or more.

    Args:
        model: the model.
        tsr_k: temperature; below 1 images vary less and are sharper.
        tsr_sigma: standard deviation of the data that this is made for.

    Source: arXiv 2510.01184.
    """
    from latentloom.diffusion.patches.score_scale import TemporalScoreRescaling

    return GuidedModel(_with(model, TemporalScoreRescaling(tsr_k, tsr_sigma)))


@node("CFGOverride", category="model/sampling/guiders")
def cfg_override(
    model: Model, cfg: Cfg = 1.0, start_percent: Percent = 0.0, end_percent: Percent = 1.0
) -> Model:
    """Guide with another strength within a part of the schedule.

    Args:
        model: the model.
        cfg: the strength there.
        start_percent, end_percent: shares of the schedule, from 0, noise, to 1.
    """
    from latentloom.diffusion.patches.score_scale import OverriddenGuidance

    return _with(model, OverriddenGuidance(cfg, start_percent, end_percent))


def _with(model: Model, patch: Patch) -> Model:
    from dataclasses import replace

    return replace(model, patches=(*model.patches, patch))
