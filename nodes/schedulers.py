"""Sigmas for custom sampling: by schedule, by formula, split, extended and reversed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from latentloom.engine.errors import InputError
from latentloom.engine.node.ports import Between
from latentloom.engine.node.spec import node

from .ports import Denoise, Model, SchedulerName, Sigmas, StepIndex, Steps

if TYPE_CHECKING:
    from torch import Tensor

CATEGORY = "model/sampling/schedulers"
SIGMAS = "model/sampling/sigmas"
MAX_MANUAL_SIGMAS = 10_001
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
Sigma = Annotated[float, Between(0.0, 5000.0, step=0.01)]
FirstSigma = Annotated[float, Between(0.0, 20_000.0, step=0.001)]
Rho = Annotated[float, Between(0.0, 100.0, step=0.01)]
Shape = Annotated[float, Between(0.0, 50.0, step=0.01)]
EndTime = Annotated[float, Between(0.0, 1.0, step=0.0001)]
Mu = Annotated[float, Between(-10.0, 10.0, step=0.1)]
Spread = Annotated[float, Between(0.0, 10.0, step=0.1)]
TurboSteps = Annotated[int, Between(1, 10)]
Parts = Annotated[int, Between(1, 100)]
StartSigma = Annotated[float, Between(-1.0, 20_000.0, step=0.01)]
EndSigma = Annotated[float, Between(0.0, 20_000.0, step=0.01)]
GitsCoefficient = Annotated[float, Between(0.8, 1.5, step=0.05)]
GitsSteps = Annotated[int, Between(2, 1000)]
FinePercent = Annotated[float, Between(0.0, 1.0, step=0.0001)]


class Split(NamedTuple):
    """The outputs of SplitSigmas: the noisier part and the rest."""

    high_sigmas: Sigmas
    low_sigmas: Sigmas


class SigmaValue(NamedTuple):
    """The output of SamplingPercentToSigma."""

    sigma_value: float


@node("BasicScheduler", category=CATEGORY)
def basic_scheduler(
    model: Model, scheduler: SchedulerName = "simple", steps: Steps = 20, denoise: Denoise = 1.0
) -> Sigmas:
    """Make the sigmas that KSampler goes through.

    Args:
        model: gives the table of sigmas.
        scheduler: the schedule; if it gives more sigmas than steps + 1 (ddim_uniform at some
            numbers of steps), the last ones are taken, while KSampler runs all.
        steps: number of steps, for every denoise.
        denoise: share of the schedule to take, from its end; 0 gives no sigmas.

    Source: ComfyUI's BasicScheduler.
    """
    from latentloom.diffusion.schedules.schedules import calculate_sigmas

    return calculate_sigmas(model.sampling, scheduler, steps, denoise)[-(steps + 1) :]


@node("KarrasScheduler", category=CATEGORY)
def karras_scheduler(
    steps: Steps = 20,
    sigma_max: Sigma = 14.614642,
    sigma_min: Sigma = 0.0291675,
    rho: Rho = 7.0,
) -> Sigmas:
    """Make sigmas evenly spaced in sigma^(1/rho), then 0.

    Args:
        steps: number of steps.
        sigma_max, sigma_min: the first sigma, and the last above 0.
        rho: a larger value puts more sigmas near the end.

    Raises:
        InputError: rho is 0.

    Source: arXiv 2206.00364.
    """
    from latentloom.diffusion.schedules.sigmas import polynomial

    return _finite("rho", lambda: polynomial(steps, sigma_min, sigma_max, rho))


@node("ExponentialScheduler", category=CATEGORY)
def exponential_scheduler(
    steps: Steps = 20, sigma_max: Sigma = 14.614642, sigma_min: Sigma = 0.0291675
) -> Sigmas:
    """Make sigmas evenly spaced in log sigma, then 0.

    Args:
        steps: number of steps.
        sigma_max, sigma_min: the first sigma, and the last above 0.

    Raises:
        InputError: a sigma is 0.
    """
    from latentloom.diffusion.schedules.sigmas import exponential

    return _finite("sigma_min", lambda: exponential(steps, sigma_min, sigma_max))


@node("PolyexponentialScheduler", category=CATEGORY)
def polyexponential_scheduler(
    steps: Steps = 20,
    sigma_max: Sigma = 14.614642,
    sigma_min: Sigma = 0.0291675,
    rho: Rho = 1.0,
) -> Sigmas:
    """Make sigmas by a power of an even ramp in log sigma, then 0.

    Args:
        steps: number of steps.
        sigma_max, sigma_min: the first sigma, and the last above 0.
        rho: the power; 1 is ExponentialScheduler.

    Raises:
        InputError: a sigma is 0.

    Source: k-diffusion.
    """
    from latentloom.diffusion.schedules.sigmas import polyexponential

    return _finite(
        "sigma_min",
        lambda: polyexponential(steps, sigma_min, sigma_max, rho),
    )


@node("VPScheduler", category=CATEGORY)
def vp_scheduler(
    steps: Steps = 20, beta_d: Sigma = 19.9, beta_min: Sigma = 0.1, eps_s: EndTime = 0.001
) -> Sigmas:
    """Make sigmas evenly spaced in the time of a variance-preserving process, then 0.

    Args:
        steps: number of steps.
        beta_d, beta_min: slope and start of its linear beta.
        eps_s: time of the last sigma above 0.

    Source: arXiv 2011.13456.
    """
    from latentloom.diffusion.schedules.sigmas import variance_preserving

    return _finite("beta_d", lambda: variance_preserving(steps, beta_d, beta_min, eps_s))


@node("LaplaceScheduler", category=CATEGORY)
def laplace_scheduler(
    steps: Steps = 20,
    sigma_max: Sigma = 14.614642,
    sigma_min: Sigma = 0.0291675,
    mu: Mu = 0.0,
    beta: Spread = 0.5,
) -> Sigmas:
    """Make sigmas at quantiles of a Laplace distribution in log sigma, without a 0 at the end.

    Args:
        steps: number of sigmas.
        sigma_max, sigma_min: the limits of the sigmas.
        mu: mean of log sigma.
        beta: scale of the distribution.

    Source: arXiv 2407.03297.
    """
    from latentloom.diffusion.schedules.sigmas import laplace

    return _finite("beta", lambda: laplace(steps, sigma_min, sigma_max, mu, beta))


@node("BetaSamplingScheduler", category=CATEGORY)
def beta_sampling_scheduler(
    model: Model, steps: Steps = 20, alpha: Shape = 0.6, beta: Shape = 0.6
) -> Sigmas:
    """Make the sigmas of timesteps at quantiles of a beta distribution; repeated ones count once.

    Args:
        model: gives the table of sigmas.
        steps: the largest number of steps.
        alpha, beta: shape of the distribution; below 1 both ends get more steps.

    Raises:
        InputError: alpha or beta is 0.

    Source: arXiv 2407.12173.
    """
    from latentloom.diffusion.schedules import schedules

    return _finite(
        "alpha",
        lambda: schedules.beta(model.sampling, steps, alpha, beta),
    )


@node("SDTurboScheduler", category=CATEGORY)
def sd_turbo_scheduler(model: Model, steps: TurboSteps = 1, denoise: Denoise = 1.0) -> Sigmas:
    """Make the sigmas that turbo models were distilled on, then 0.

    Args:
        model: gives the table of sigmas.
        steps: number of the ten sigmas.
        denoise: below 1 leaves out the first of the ten.
    """
    from latentloom.diffusion.schedules.sigmas import sd_turbo

    return sd_turbo(model.sampling, steps, denoise)


@node("AlignYourStepsScheduler", category=CATEGORY)
def align_your_steps_scheduler(
    model_type: Literal["SD1", "SDXL", "SVD"] = "SD1", steps: Steps = 10, denoise: Denoise = 1.0
) -> Sigmas:
    """Take published sigmas that were optimised for a model family.

    Args:
        model_type: the family.
        steps: numbers other than 10 are interpolated.
        denoise: below 1 takes the last round(steps * denoise) steps: fewer steps, unlike the
            denoise of KSampler.

    Source: arXiv 2404.14507.
    """
    from latentloom.diffusion.schedules.sigmas import align_your_steps

    return align_your_steps(model_type, steps, denoise)


@node("GITSScheduler", category=CATEGORY)
class GITSScheduler:
    """Take the published sigmas of geometry-inspired time scheduling for Stable Diffusion.

    Args:
        coeff: a multiple of 0.05; the larger, the more sigmas lie near 0.
        steps: numbers other than 2 to 20 are interpolated.
        denoise: below 1 takes the last round(steps * denoise) steps: fewer steps, unlike the
            denoise of KSampler.

    Raises:
        InputError: the coefficient is not published.

    Source: arXiv 2405.11326; ComfyUI's GITSScheduler.
    """

    @staticmethod
    def run(coeff: GitsCoefficient = 1.2, steps: GitsSteps = 10, denoise: Denoise = 1.0) -> Sigmas:
        from latentloom.diffusion.schedules.gits import gits

        GITSScheduler.check(coeff)
        return gits(coeff, steps, denoise)

    @staticmethod
    def check(coeff: float) -> None:
        if round(coeff * 100) % 5:
            raise InputError("coeff", "a multiple of 0.05 from 0.8 to 1.5", coeff)


@node("SplitSigmas", category=SIGMAS)
def split_sigmas(sigmas: Sigmas, step: StepIndex = 0) -> Split:
    """Split sigmas at a step; both parts hold the sigma in between.

    Args:
        sigmas: the sigmas to split.
        step: number of steps in the first part.
    """
    from latentloom.diffusion.schedules.sigmas import split

    return Split(*split(sigmas, step))


@node("SplitSigmasDenoise", category=SIGMAS)
def split_sigmas_denoise(sigmas: Sigmas, denoise: Denoise = 1.0) -> Split:
    """Split sigmas so that the second part has a share of the steps.

    Args:
        sigmas: the sigmas to split.
        denoise: share of the steps in the second part, rounded; if it has no steps, the first
            part is empty.

    Source: ComfyUI's SplitSigmasDenoise.
    """
    from latentloom.diffusion.schedules.sigmas import split_denoise

    return Split(*split_denoise(sigmas, denoise))


@node("FlipSigmas", category=SIGMAS)
def flip_sigmas(sigmas: Sigmas) -> Sigmas:
    """Reverse sigmas, to run a model backwards from image to noise.

    Args:
        sigmas: the sigmas to reverse; a last one of 0 becomes a first one of 0.0001.
    """
    from latentloom.diffusion.schedules.sigmas import flip

    return flip(sigmas)


@node("ExtendIntermediateSigmas", category=SIGMAS)
def extend_intermediate_sigmas(
    sigmas: Sigmas,
    steps: Parts = 2,
    start_at_sigma: StartSigma = -1.0,
    end_at_sigma: EndSigma = 12.0,
    spacing: Literal["linear", "cosine", "sine"] = "linear",
) -> Sigmas:
    """Cut steps within a range of sigmas into smaller ones.

    Args:
        sigmas: the sigmas to extend.
        steps: number of steps that replace one.
        start_at_sigma, end_at_sigma: the highest and the lowest sigma at which a step is cut; a
            start below 0 has no limit.
        spacing: cosine makes the first parts of a step longer, sine the last.

    Source: ComfyUI's ExtendIntermediateSigmas.
    """
    from latentloom.diffusion.schedules.sigmas import extend

    start = float("inf") if start_at_sigma < 0 else start_at_sigma
    return extend(sigmas, steps, start, end_at_sigma, spacing)


@node("SetFirstSigma", category=SIGMAS)
def set_first_sigma(sigmas: Sigmas, sigma: FirstSigma = 136.0) -> Sigmas:
    """Replace the first sigma.

    Args:
        sigmas: the sigmas to change.
        sigma: the new first one.
    """
    from latentloom.diffusion.schedules.sigmas import replace_first

    return replace_first(sigmas, sigma)


@node("ManualSigmas", category=SIGMAS)
def manual_sigmas(sigmas: str = "1, 0.5") -> Sigmas:
    """Return the sigmas that a string lists.

    Args:
        sigmas: at least two numbers, in the order of the steps; what stands between them is
            ignored.
    """
    import torch

    numbers = [float(number) for number in _NUMBER.findall(sigmas)]
    if not 2 <= len(numbers) <= MAX_MANUAL_SIGMAS:
        expected = f"2 to {MAX_MANUAL_SIGMAS} numbers"
        raise InputError("sigmas", expected, f"{len(numbers)} in {sigmas[:80]!r}")
    return _finite("sigmas", lambda: torch.tensor(numbers, dtype=torch.float32))


@node("SamplingPercentToSigma", category=SIGMAS)
def sampling_percent_to_sigma(
    model: Model, sampling_percent: FinePercent = 0.0, return_actual_sigma: bool = False
) -> SigmaValue:
    """Return the sigma at a share of the schedule.

    Args:
        model: gives the table of sigmas.
        sampling_percent: 0 is pure noise, 1 the image.
        return_actual_sigma: at 0 and 1 return the ends of the table, not a number beyond them.
    """
    sampling = model.sampling
    if return_actual_sigma and sampling_percent in (0.0, 1.0):
        return SigmaValue(sampling.sigma_min if sampling_percent else sampling.sigma_max)
    return SigmaValue(sampling.percent_to_sigma(sampling_percent))


def _finite(port: str, make: Callable[[], Tensor]) -> Tensor:
    """Return the sigmas of a formula that has no value for some inputs."""
    import torch

    expected = "numbers above 0 that give finite sigmas"
    try:
        sigmas = make()
    except (ArithmeticError, ValueError) as error:
        raise InputError(port, expected, error) from error
    if not bool(torch.isfinite(sigmas).all()):
        raise InputError(port, expected, "sigmas of NaN or infinity")
    return sigmas
