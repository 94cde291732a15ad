"""Steps and their reports: the first model call of each step, and no other."""

from __future__ import annotations

import torch
from torch import Tensor

from latentloom.diffusion.samplers.step import SamplingSteps, StepReporter

SIGMAS = torch.tensor([3.0, 2.0, 1.0])


def halve(x: Tensor, _sigma: Tensor) -> Tensor:
    return x / 2


def split(x: Tensor, _sigma: Tensor) -> tuple[Tensor, Tensor]:
    return x / 2, x / 3


def test_steps_are_pairs_of_sigmas() -> None:
    steps = SamplingSteps(SIGMAS)
    assert len(steps) == 2
    assert [(float(sigma), float(sigma_next)) for sigma, sigma_next in steps] == [(3, 2), (2, 1)]


def test_the_first_call_of_a_step_is_reported_and_no_other() -> None:
    reports = list[tuple[int, float]]()
    reporter = StepReporter(lambda index, denoised: reports.append((index, float(denoised))))
    denoise = reporter.watch(halve)
    for sigma, sigma_next in SamplingSteps(SIGMAS, reporter):
        denoise(sigma, sigma)
        denoise(sigma_next, sigma_next)
    assert reports == [(0, 1.5), (1, 1.0)]


def test_of_a_pair_the_guided_prediction_is_reported() -> None:
    reports = list[float]()
    reporter = StepReporter(lambda _index, denoised: reports.append(float(denoised)))
    reporter.begin(0)
    reporter.watch(split)(torch.tensor(6.0), SIGMAS[0])
    assert reports == [3.0]


def test_a_call_outside_the_steps_is_not_reported() -> None:
    reports = list[int]()
    reporter = StepReporter(lambda index, _denoised: reports.append(index))
    reporter.watch(halve)(SIGMAS, SIGMAS[0])
    assert reports == []
