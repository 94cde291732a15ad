"""Regions: windows and weights in closed form, and prompts that hold where they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import (
    Conditioning,
    PromptEntry,
    with_area,
    with_mask,
    with_range,
    with_strength,
)
from latentloom.diffusion.conditioning.fitting import fit_entries
from latentloom.diffusion.conditioning.regions import Area, Box, Region
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.sampling.guidance import Guidance, GuidedDenoiser
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from latentloom.diffusion.schedules.model_sampling import ModelSampling
from tests.tiny_model import TEXT_DIM

SAMPLING = ModelSampling()


def prompt(seed: int) -> Conditioning:
    generator = torch.Generator().manual_seed(seed)
    return (PromptEntry(torch.randn(1, 77, TEXT_DIM, generator=generator)),)


def latent(height: int = 16, width: int = 24, batch: int = 1) -> Tensor:
    return torch.randn(batch, 4, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("area", "box"),
    [
        (Area(8, 10, 2, 3), Box(8, 10, 2, 3)),
        (Area(99, 99, 4, 5), Box(12, 19, 4, 5)),
        (Area(8, 8, 90, 90), Box(1, 1, 15, 23)),
        (Area(0.5, 0.5, 0.25, 0.5, is_relative=True), Box(8, 12, 4, 12)),
        (Area(0.0, 1.0, 0.0, 0.0, is_relative=True), Box(1, 24, 0, 0)),
    ],
)
def test_an_area_is_a_window_cut_at_the_edges(area: Area, box: Box) -> None:
    assert Region(area).cut_box(16, 24) == box


def test_a_mask_is_bounded_by_8_cells_at_least() -> None:
    mask = torch.zeros(1, 16, 24)
    mask[0, 3:14, 10:12] = 0.5
    assert Region(mask=mask, bounds=True).cut_box(16, 24) == Box(11, 8, 3, 10)
    assert Region(mask=mask).cut_box(16, 24) is None
    empty = Region(mask=torch.zeros(1, 16, 24), bounds=True)
    assert empty.cut_box(16, 24) == Box(8, 8, 0, 0)


def test_an_area_fades_at_edges_that_are_not_the_images() -> None:
    x = latent()
    weight = Region(Area(16, 16, 0, 4)).weight(Box(16, 16, 0, 4), x)[0, 0]
    ramp = torch.tensor([0.25, 0.5, 0.75, 1.0])
    across = torch.cat([ramp, torch.ones(8), ramp.flip(0)])
    torch.testing.assert_close(weight, across.expand(16, 16))
    assert bool((Region(Area(16, 24, 0, 0)).weight(Box(16, 24, 0, 0), x) == 1).all())


def test_a_mask_is_resized_and_does_not_fade() -> None:
    mask = torch.zeros(1, 32, 48)
    mask[:, :, 24:] = 0.5
    x = latent(batch=2)
    weight = Region(mask=mask, mask_strength=2.0).weight(None, x)
    assert weight.shape == (2, 1, 16, 24)
    assert bool((weight[..., :11] == 0).all())
    assert bool((weight[..., 13:] == 1).all())


def test_the_other_side_gets_the_same_area() -> None:
    area = with_area(prompt(1), Area(8, 8, 4, 4), 0.7)
    parts = fit_entries((area, prompt(2), ()), latent(), SAMPLING)
    assert [(part.side, part.box) for part in parts] == [
        (0, Box(8, 8, 4, 4)),
        (1, Box(16, 24, 0, 0)),
        (1, Box(8, 8, 4, 4)),
    ]
    assert parts[2].entry.tokens is parts[1].entry.tokens
    assert parts[2].entry.strength == 0.7


def test_the_smallest_enclosing_prompt_answers_for_an_area() -> None:
    small = with_area(prompt(1), Area(4, 4, 4, 4), 1.0)
    near, far = with_area(prompt(2), Area(8, 8, 2, 2), 1.0), prompt(3)
    parts = fit_entries((small, (*far, *near), ()), latent(), SAMPLING)
    asked = [part for part in parts if part.side == 1 and part.box == Box(4, 4, 4, 4)]
    assert [part.entry.tokens is near[0].tokens for part in asked] == [True]


def test_areas_are_compared_before_they_are_cut_to_the_latent() -> None:
    outside = with_area(prompt(1), Area(99, 8, 0, 0), 1.0)
    full = with_area(prompt(2), Area(16, 24, 0, 0), 1.0)
    parts = fit_entries((outside, full, ()), latent(), SAMPLING)
    # Neither encloses the other, so neither side is asked for the other's area.
    assert [(part.side, part.box) for part in parts] == [
        (0, Box(16, 8, 0, 0)),
        (1, Box(16, 24, 0, 0)),
    ]
    larger = with_area(prompt(3), Area(120, 120, 0, 0), 1.0)
    parts = fit_entries((outside, (*prompt(2), *larger), ()), latent(), SAMPLING)
    assert parts[-1].box == Box(16, 8, 0, 0)
    assert parts[-1].entry.tokens is larger[0].tokens


def test_an_empty_side_gets_no_areas() -> None:
    parts = fit_entries((with_area(prompt(1), Area(8, 8, 0, 0), 1.0), (), ()), latent(), SAMPLING)
    assert [part.side for part in parts] == [0]


def test_masks_that_share_an_image_mix_by_their_weights(tiny: Checkpoint) -> None:
    x, sigma = latent(8, 8), torch.tensor(3.0)
    left = torch.zeros(1, 8, 8)
    left[..., :4] = 1.0
    both_sides = (
        *with_mask(prompt(1), left, 1.0, bounds=False),
        *with_mask(prompt(2), 1 - left, 1.0, bounds=False),
    )
    one, two = (GuidedDenoiser(Guidance(tiny.model, prompt(seed)))(x, sigma) for seed in (1, 2))
    with torch.no_grad():
        both = GuidedDenoiser(Guidance(tiny.model, both_sides))(x, sigma)
    torch.testing.assert_close(both[..., :4], one[..., :4], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(both[..., 4:], two[..., 4:], rtol=1e-4, atol=1e-4)


def test_an_area_alone_leaves_the_rest_at_0(tiny: Checkpoint) -> None:
    x, sigma = latent(8, 8), torch.tensor(3.0)
    alone = Guidance(tiny.model, with_area(prompt(1), Area(8, 4, 0, 0), 1.0))
    got = GuidedDenoiser(alone)(x, sigma)
    window = GuidedDenoiser(Guidance(tiny.model, prompt(1)))(x[..., :4].contiguous(), sigma)
    assert not got[..., 4:].any()
    torch.testing.assert_close(got[..., :4], window, rtol=1e-4, atol=1e-4)


def test_a_strength_is_a_weight_in_the_mean(tiny: Checkpoint) -> None:
    x, sigma = latent(8, 8), torch.tensor(3.0)
    mixed = (*with_strength(prompt(1), 0.5), *with_strength(prompt(2), 1.5))
    one, two, both = (
        GuidedDenoiser(Guidance(tiny.model, side))(x, sigma)
        for side in (prompt(1), prompt(2), mixed)
    )
    torch.testing.assert_close(both, one * 0.25 + two * 0.75, rtol=1e-4, atol=1e-4)


def test_areas_of_one_size_share_a_call(tiny: Checkpoint) -> None:
    sides = (
        *with_area(prompt(1), Area(8, 4, 0, 0), 1.0),
        *with_area(prompt(2), Area(8, 4, 0, 4), 1.0),
    )
    result = sample(tiny.model, Latent(latent(8, 8)), sides, prompt(3), SamplePlan(
        1, 2, 4.0, "euler", "normal"
    ))  # fmt: skip
    # A call for the four windows, and one for the whole of the negative side.
    assert result.passes[-1].model_calls == 4


def test_a_region_keeps_its_range_and_controls() -> None:
    ranged = with_range(with_area(prompt(1), Area(8, 8, 0, 0), 1.0), 0.2, 0.6)
    parts = fit_entries((ranged, prompt(2), ()), latent(), SAMPLING)
    copied = parts[-1]
    assert (copied.sigma_start, copied.sigma_end) == (parts[0].sigma_start, parts[0].sigma_end)
    assert parts[1].sigma_start > parts[0].sigma_start


def test_a_mask_and_an_area_may_both_be_set() -> None:
    mask = torch.ones(1, 16, 24)
    both = with_mask(with_area(prompt(1), Area(8, 8, 4, 4), 0.5), mask, 0.8, bounds=False)
    (part,) = fit_entries((both, (), ()), latent(), SAMPLING)
    assert part.box == Box(8, 8, 4, 4)
    assert bool((part.weight == torch.tensor(0.8) * 0.5).all())
    again = replace(both[0], region=None)
    assert again.strength == 0.5
