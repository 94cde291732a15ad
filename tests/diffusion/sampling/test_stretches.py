"""Parts of a schedule, noise in a mask, and prompt ranges, as the network sees them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import Conditioning, PromptEntry, with_range
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.networks.weights import UNetWeights
from latentloom.diffusion.sampling.guidance import Guidance, GuidedDenoiser
from latentloom.diffusion.sampling.masking import fit_mask
from latentloom.diffusion.sampling.noise import start_noise
from latentloom.diffusion.sampling.sample import SamplePlan, plan_sigmas, sample

SCALE = 0.18215
PLAN = SamplePlan(seed=3, steps=4, cfg=1.0, sampler="euler", scheduler="normal")


def prompt(seed: int = 1) -> Conditioning:
    return (PromptEntry(torch.randn(1, 77, 32, generator=torch.Generator().manual_seed(seed))),)


def latent(batch: int = 1) -> Latent:
    return Latent(torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(9)))


@pytest.fixture
def seen(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """Record the inputs of the network: x before its scaling, and sigma."""
    real, calls = UNetWeights.predict, list[tuple[Tensor, Tensor]]()

    def predict(weights: UNetWeights, x: Tensor, timestep: Tensor, *rest: Any) -> Tensor:
        sigma = tiny.model.sampling.sigmas[int(timestep[0])]
        calls.append((x * (sigma**2 + 1) ** 0.5, sigma))
        return real(weights, x, timestep, *rest)

    monkeypatch.setattr(UNetWeights, "predict", predict)
    return calls


@pytest.mark.parametrize(
    ("start", "end", "leftover", "indices"),
    [
        (0, 10_000, False, [0, 1, 2, 3, 4]),
        (0, 4, True, [0, 1, 2, 3, 4]),
        (0, 9, True, [0, 1, 2, 3, 4]),
        (0, 3, True, [0, 1, 2, 3]),
        (0, 3, False, [0, 1, 2, 4]),
        (1, 3, True, [1, 2, 3]),
        (1, 3, False, [1, 2, 4]),
        (2, 3, False, [2, 4]),
        (3, 10_000, False, [3, 4]),
        (0, 0, False, []),
        (0, 0, True, []),
        (2, 2, False, []),
        (3, 2, True, []),
        (4, 10_000, False, []),
        (10_000, 10_000, True, []),
    ],
)
def test_a_part_of_a_schedule_has_these_sigmas(
    tiny: Checkpoint, start: int, end: int, leftover: bool, indices: list[int]
) -> None:
    full = plan_sigmas(tiny.model, PLAN)
    got = plan_sigmas(tiny.model, replace(PLAN, start=start, end=end, leftover_noise=leftover))
    assert torch.equal(got, full[indices])
    assert full[-1] == 0


def test_an_empty_part_gives_the_latent_itself(tiny: Checkpoint) -> None:
    given = latent()
    assert sample(tiny.model, given, prompt(), prompt(), replace(PLAN, end=0)) is given


@pytest.mark.parametrize(("sampler", "alike"), [("euler", True), ("euler_ancestral", False)])
def test_without_added_noise_the_seed_is_that_of_the_steps(
    tiny: Checkpoint, sampler: str, alike: bool
) -> None:
    plan = replace(PLAN, sampler=sampler, add_noise=False, start=1)
    one, other = (
        sample(tiny.model, latent(), prompt(), prompt(), replace(plan, seed=seed)).samples
        for seed in (1, 2)
    )
    assert torch.equal(one, other) == alike


def test_without_added_noise_the_first_call_sees_the_latent(
    tiny: Checkpoint, seen: list[tuple[Tensor, Tensor]]
) -> None:
    sample(tiny.model, latent(), prompt(), prompt(), replace(PLAN, add_noise=False, start=1))
    torch.testing.assert_close(seen[0][0], latent().samples * SCALE, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("sampler", "seed", "added"),
    [("euler", 3, True), ("dpmpp_2m", 3, True), ("ddim", 4, True), ("euler", 3, False)],
)
def test_outside_the_mask_each_call_sees_the_latent_with_one_noise(
    tiny: Checkpoint, seen: list[tuple[Tensor, Tensor]], sampler: str, seed: int, added: bool
) -> None:
    masked = replace(latent(2), noise_mask=torch.zeros(1, 64, 64), batch_index=(0, 1))
    plan = replace(PLAN, sampler=sampler, add_noise=added)
    sample(tiny.model, masked, prompt(), prompt(), plan)
    # Fresh noise for ddim is drawn for the batch at once, as if no member had an index.
    drawn = start_noise((2, 4, 8, 8), seed, None if sampler == "ddim" else (0, 1)) * added
    assert len(seen) == 4
    for x, sigma in seen:
        torch.testing.assert_close(x, masked.samples * SCALE + sigma * drawn, rtol=1e-4, atol=1e-4)


def test_masks_repeat_over_the_batch_and_stay_grey() -> None:
    masks = torch.stack([torch.full((16, 16), value) for value in (0.25, 1.0)])
    fitted = fit_mask(masks, torch.zeros(5, 4, 8, 8))
    assert fitted.shape == (5, 1, 8, 8)
    assert fitted[:, 0, 0, 0].tolist() == [0.25, 1.0, 0.25, 1.0, 0.25]
    assert fit_mask(masks, torch.zeros(1, 4, 8, 8))[:, 0, 3, 3].tolist() == [0.25]


def test_a_range_holds_at_both_of_its_ends(tiny: Checkpoint) -> None:
    sigma_at = tiny.model.sampling.percent_to_sigma
    guide = GuidedDenoiser(Guidance(tiny.model, with_range(prompt(), 0.25, 0.5)))
    x, ends = latent().samples, (sigma_at(0.25), sigma_at(0.5))
    with torch.no_grad():
        within = [bool(guide(x, torch.tensor(end)).any()) for end in ends]
        beyond = [bool(guide(x, torch.tensor(end)).any()) for end in (ends[0] + 1e-3, 0.5)]
    assert within == [True, True]
    assert beyond == [False, False]


def test_a_range_is_tested_at_the_sigma_of_each_call_of_a_step(
    tiny: Checkpoint, seen: list[tuple[Tensor, Tensor]]
) -> None:
    plan = replace(PLAN, sampler="dpm_2")
    sigmas = plan_sigmas(tiny.model, plan)
    middles = [float((a * b).sqrt()) for a, b in pairwise(sigmas[:-1])]
    # The range ends between the first sigma and the middle of its step.
    share = next(
        number / 1000
        for number in range(1000)
        if tiny.model.sampling.percent_to_sigma(number / 1000) < (middles[0] + float(sigmas[0])) / 2
    )
    sample(tiny.model, latent(), with_range(prompt(), 0.0, share), prompt(), plan)
    assert [round(float(sigma), 3) for _, sigma in seen] == [round(float(sigmas[0]), 3)]
