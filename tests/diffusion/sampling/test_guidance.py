"""Guiders that mix three sides: the two that a patch gets, and the one that CFG++ steps from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import Conditioning, PromptEntry
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.networks.patch import GuidancePatch, GuidanceStep
from latentloom.diffusion.networks.weights import UNetWeights
from latentloom.diffusion.samplers.table import SamplerChoice
from latentloom.diffusion.sampling.guidance import Guidance, GuidedDenoiser, Style
from latentloom.diffusion.sampling.noise import NoiseChoice
from latentloom.diffusion.sampling.sample import SamplingRun, sample_custom
from latentloom.diffusion.schedules.schedules import calculate_sigmas

SIGMA = torch.tensor(3.0)


@dataclass(frozen=True, eq=False)
class RecordingPatch(GuidancePatch):
    """A patch that records the sides, and adds 1 to the mix."""

    steps: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    asked: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def post_cfg(self, step: GuidanceStep, denoised: Tensor) -> Tensor:
        self.steps.append((step.positive, step.negative))
        self.asked.append((step.denoise(step.x, 0), step.denoise(step.x, 1)))
        return denoised + 1


def prompt(seed: int) -> Conditioning:
    return (PromptEntry(torch.randn(1, 77, 32, generator=torch.Generator().manual_seed(seed))),)


def latent() -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(4))


def guidance(tiny: Checkpoint, style: Style, patch: RecordingPatch | None = None) -> Guidance:
    model = replace(tiny.model, patches=(patch,)) if patch else tiny.model
    return Guidance(model, prompt(1), prompt(2), 3.0, prompt(3), 2.0, style)


def answers(tiny: Checkpoint) -> list[Tensor]:
    """D of the three prompts."""
    with torch.no_grad():
        return [
            GuidedDenoiser(Guidance(tiny.model, prompt(seed)))(latent(), SIGMA)
            for seed in (1, 2, 3)
        ]


@pytest.mark.parametrize(
    ("style", "sides"), [("regular", (2, 1)), ("nested", (0, 2)), ("perpendicular", (0, 1))]
)
def test_a_patch_sees_the_two_sides_that_are_mixed(
    tiny: Checkpoint, style: Style, sides: tuple[int, int]
) -> None:
    patch, predictions = RecordingPatch(), answers(tiny)
    with torch.no_grad():
        GuidedDenoiser(guidance(tiny, style, patch)).pair(latent(), SIGMA)
    expected = tuple(predictions[side] for side in sides)
    for given in (*patch.steps, *patch.asked):
        torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("style", "gain"), [("single", 1.0), ("regular", 1.0), ("nested", 2.0), ("perpendicular", 1.0)]
)
def test_a_patch_changes_the_result_of_every_style(
    tiny: Checkpoint, style: Style, gain: float
) -> None:
    with torch.no_grad():
        plain = GuidedDenoiser(guidance(tiny, style))(latent(), SIGMA)
        patched = GuidedDenoiser(guidance(tiny, style, RecordingPatch()))(latent(), SIGMA)
    torch.testing.assert_close(patched, plain + gain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("style", "side"), [("single", 1), ("regular", 1), ("nested", 2), ("perpendicular", 1)]
)
def test_cfg_pp_steps_from_the_side_that_is_guided_away_from(
    tiny: Checkpoint, style: Style, side: int
) -> None:
    with torch.no_grad():
        _, away = GuidedDenoiser(guidance(tiny, style)).pair(latent(), SIGMA)
    torch.testing.assert_close(away, answers(tiny)[side], rtol=1e-3, atol=1e-3)


def test_without_a_negative_side_cfg_pp_steps_as_its_plain_form(tiny: Checkpoint) -> None:
    sigmas = calculate_sigmas(tiny.model.sampling, "karras", 4)
    one, other = (
        sample_custom(
            Guidance(tiny.model, prompt(1)),
            Latent(latent()),
            SamplingRun(sigmas, SamplerChoice(name), NoiseChoice(5)),
        ).output.samples
        for name in ("euler_cfg_pp", "euler")
    )
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4 * float(other.std()))


@pytest.mark.parametrize("style", ["single", "nested"])
def test_inputs_that_do_not_depend_on_sigma_are_brought_to_the_device_once(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch, style: Style
) -> None:
    real, given = UNetWeights.predict, list[tuple[Tensor, float]]()

    def predict(
        weights: UNetWeights, x: Tensor, timestep: Tensor, context: Tensor, *rest: Any
    ) -> Tensor:
        given.append((context, float(timestep[0])))
        return real(weights, x, timestep, context, *rest)

    monkeypatch.setattr(UNetWeights, "predict", predict)
    guide = GuidedDenoiser(guidance(tiny, style))
    with torch.no_grad():
        for sigma in (9.0, 3.0, 1.0):
            guide(latent(), torch.tensor(sigma))
    assert all(context is given[0][0] for context, _ in given)
    expected = [
        float(tiny.model.sampling.timestep(torch.tensor(sigma))) for sigma in (9.0, 3.0, 1.0)
    ]
    assert [timestep for _, timestep in given] == expected
