"""Guidance by projections, limits and scales against closed forms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentloom.diffusion.networks.patch import GuidancePatch, GuidanceStep, StepState
from latentloom.diffusion.patches.norm_limits import CellNormLimit, RenormalizedGuidance
from latentloom.diffusion.patches.projection import (
    ProjectedGuidance,
    TangentialDamping,
    ZeroStarGuidance,
)
from latentloom.diffusion.patches.score_scale import (
    EpsilonScaling,
    OverriddenGuidance,
    TemporalScoreRescaling,
)
from latentloom.diffusion.schedules.flow import FlowSampling
from latentloom.diffusion.schedules.model_sampling import ModelSampling


def make_step(**changes: Any) -> GuidanceStep:
    """Return a step over seeded sides of a batch of two."""
    generator = torch.Generator().manual_seed(1)
    x, positive, negative = torch.randn(3, 2, 4, 3, 5, generator=generator)
    state = StepState(ModelSampling(), sigma=2.0)
    step = GuidanceStep(
        x=x, sigma=torch.tensor(2.0), positive=positive, negative=negative, cfg=4.0,
        denoise=lambda x, _side: x, network=nn.Identity(), state=state,
    )  # fmt: skip
    return replace(step, **changes)


def guide(patch: GuidancePatch, step: GuidanceStep) -> Tensor:
    """Return the guided D, as sampling mixes it."""
    positive, negative = patch.pre_cfg(step)
    step = replace(step, positive=positive, negative=negative)
    mixed = patch.mix(step)
    guided = negative + step.cfg * (positive - negative) if mixed is None else mixed
    return patch.post_cfg(step, guided)


def flat(tensor: Tensor) -> Tensor:
    return tensor.flatten(1)


def close(first: Tensor, second: Tensor) -> None:
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "patch",
    [
        RenormalizedGuidance(100.0, 0.0),
        EpsilonScaling(1.0),
        TemporalScoreRescaling(1.0, 3.0),
        OverriddenGuidance(4.0),
    ],
)
def test_a_neutral_patch_is_plain_guidance(patch: GuidancePatch) -> None:
    step = make_step()
    close(guide(patch, step), guide(GuidancePatch(), step))


def test_zero_star_changes_nothing_where_the_sides_are_parallel() -> None:
    step = make_step()
    step = replace(step, negative=step.x - 2 * (step.x - step.positive), cfg=1.0)
    close(guide(ZeroStarGuidance(), step), step.positive)


def test_zero_star_scales_the_negative_side_of_each_image() -> None:
    step = make_step()
    positive, negative = flat(step.x - step.positive), flat(step.x - step.negative)
    scale = ((positive * negative).sum(1) / negative.square().sum(1)).view(2, 1, 1, 1)
    expected = scale * step.negative + step.cfg * (step.positive - scale * step.negative)
    close(guide(ZeroStarGuidance(), step), expected)


def test_projected_guidance_without_limits_adds_cfg_times_the_difference() -> None:
    step = make_step()
    difference = step.positive - step.negative
    close(guide(ProjectedGuidance(1.0, 0.0, 0.0), step), step.positive + step.cfg * difference)


def test_projected_guidance_with_eta_0_goes_across_the_positive_side() -> None:
    step = make_step()
    update = guide(ProjectedGuidance(0.0, 0.0, 0.0), step) - step.positive
    close((flat(update) * flat(step.positive)).sum(1) / 60, torch.zeros(2))
    assert float(flat(update).norm(dim=1).min()) > 1


def test_projected_guidance_limits_the_length_of_each_image() -> None:
    step = make_step(cfg=1.0)
    update = guide(ProjectedGuidance(1.0, 0.5, 0.0), step) - step.positive
    close(flat(update).norm(dim=1), torch.full((2,), 0.5))


def test_momentum_adds_earlier_guidance_until_a_new_run_begins() -> None:
    patch, step = ProjectedGuidance(1.0, 0.0, -0.5), make_step(cfg=1.0)
    difference = step.positive - step.negative
    updates = [guide(patch, step) - step.positive for _ in range(2)]
    close(updates[0], difference)
    close(updates[1], 0.5 * difference)
    higher = replace(step, sigma=torch.tensor(3.0))
    close(guide(patch, higher) - step.positive, difference)


def test_damping_keeps_what_scores_share() -> None:
    step = make_step()
    parallel = replace(step, negative=step.x + 3 * (step.positive - step.x))
    _, negative = TangentialDamping().pre_cfg(parallel)
    close(negative, parallel.negative)
    _, damped = TangentialDamping().pre_cfg(step)
    scores = torch.stack([flat(side - step.x) for side in (step.positive, step.negative)], 1)
    axes = torch.linalg.svd(scores, full_matrices=False).Vh[:, :1]
    expected = (scores[:, 1:] @ axes.mT @ axes).view_as(step.x) + step.x
    close(damped, expected)


def test_no_cell_is_longer_than_that_of_the_positive_side() -> None:
    step = make_step()
    guided = guide(CellNormLimit(1.0), step)
    assert bool((guided.norm(dim=1) <= step.positive.norm(dim=1) * (1 + 1e-5)).all())
    close(guide(CellNormLimit(0.5), step), 0.5 * guided)
    short = replace(step, negative=step.positive * 1.1, cfg=2.0)
    close(guide(CellNormLimit(1.0), short), guide(GuidancePatch(), short))


def test_renormalized_guidance_has_a_length_for_each_image() -> None:
    step = make_step()
    guided = guide(RenormalizedGuidance(100.0, 0.5), step)
    close(flat(guided).norm(dim=1), 0.5 * flat(step.positive).norm(dim=1))
    assert guide(RenormalizedGuidance(2.0, 1.0), step) is step.positive


def test_scaled_noise_moves_the_prediction_from_the_latent() -> None:
    step = make_step(cfg=1.0)
    noise = step.x - step.positive
    close(step.x - guide(EpsilonScaling(0.5), step), 2 * noise)
    ratio = (1 / 4 + 1) / (1 / 4 / 0.5 + 1)
    close(step.x - guide(TemporalScoreRescaling(0.5, 1.0), step), ratio * noise)


def test_rescaling_of_a_flow_counts_the_share_of_the_image() -> None:
    state = StepState(FlowSampling(shift=3.0), sigma=0.25)
    step = make_step(cfg=1.0, sigma=torch.tensor(0.25), state=state)
    noise = step.x - 0.75 * step.positive
    ratio = (9 + 1) / (9 / 0.5 + 1)
    guided = guide(TemporalScoreRescaling(0.5, 1.0), step)
    close(step.x - 0.75 * guided, ratio * noise)
    start = replace(step, sigma=torch.tensor(1.0))
    assert guide(TemporalScoreRescaling(0.5, 1.0), start) is not None


def test_another_strength_counts_within_its_range() -> None:
    step = make_step()
    close(guide(OverriddenGuidance(1.0, 0.0, 1.0), step), step.positive)
    close(guide(OverriddenGuidance(1.0, 0.9, 1.0), step), guide(GuidancePatch(), step))
    assert OverriddenGuidance(2.0).needs_negative
    assert not OverriddenGuidance(1.0).needs_negative
