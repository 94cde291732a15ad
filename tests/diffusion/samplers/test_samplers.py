"""Samplers against the reference's numbers, and against exact solutions."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from latentloom.diffusion.samplers.load import fit_sigmas, load_sampler
from latentloom.diffusion.samplers.sa_solver import sa_solver
from latentloom.diffusion.samplers.step import OnStep, SamplingSteps, StepNoise, StepReporter
from latentloom.diffusion.samplers.table import SAMPLER_NAMES, SAMPLER_TABLE
from latentloom.diffusion.sampling.noise import brownian_noise, noise_like, start_noise, step_noise
from latentloom.diffusion.schedules.flow import FlowSampling
from latentloom.diffusion.schedules.model_sampling import ModelSampling
from latentloom.diffusion.schedules.schedules import calculate_sigmas
from latentloom.diffusion.schedules.sigmas import polynomial
from tests.closeness import largest_error, mean_error
from tests.paths import ROOT

FOLDER = ROOT / "tests" / "goldens/direct"
GOLDENS = load_file(FOLDER / "toy_samplers.safetensors")
FACTS: dict[str, Any] = json.loads((FOLDER / "toy_samplers.json").read_text())
SAMPLING = ModelSampling()
SAMPLINGS = {"sd15_eps": SAMPLING, "flow_shift3": FlowSampling(shift=3.0)}
SHAPE = (2, 4, 8, 12)
# One step of UniPC takes no step at all in the reference and gives scaled noise; ours takes one.
GUARDED = [f"{kind}/uni_pc{end}/sgm_uniform/1" for kind in SAMPLINGS for end in ("", "_bh2")]
CASES = [key for key in GOLDENS if key not in GUARDED]
# From 14.6 to 0.03 in one ancestral step, the square of the sigma to step down to is the difference
# of two squares that agree in all but 2 of float32's 7 digits.
CANCELLED = {f"sd15_eps/dpmpp_2s_ancestral{end}/normal/2" for end in ("", "_cfg_pp")}


class Toy:
    """The closed-form denoiser of the goldens, counting its calls."""

    def __init__(self, name: str) -> None:
        self.calls = 0
        self.is_pair = SAMPLER_TABLE[name].needs_unguided

    def __call__(self, x: Tensor, sigma: Tensor) -> Any:
        self.calls += 1
        variance = 1 + sigma * sigma
        positive = torch.tanh(0.8 * x / variance.sqrt()) + 0.1 * torch.cos(torch.log(sigma))
        negative = 0.5 * x / variance - 0.05
        denoised = negative + 3 * (positive - negative)
        return (denoised, negative) if self.is_pair else denoised


def ignore(_step: int, _denoised: Tensor) -> None:
    return None


def noise_for(name: str, x: Tensor, sigmas: Tensor, seed: int = 42) -> StepNoise:
    kind = SAMPLER_TABLE[name].noise
    if kind == "step":
        return step_noise(x, seed, "0.3.64")
    return brownian_noise(x, sigmas, seed, cpu=kind == "brownian")


def draw_nothing(_sigma: Tensor, _sigma_next: Tensor) -> Tensor:
    return pytest.fail("it drew noise")


def middle(sampling: ModelSampling) -> Any:
    """SA-Solver's noise in the middle of the schedule, as sampling gives it."""
    high, low = (sampling.percent_to_sigma(percent) for percent in (0.2, 0.8))
    return lambda sigma: 1.0 if low <= float(sigma) <= high else 0.0


def sample(
    name: str,
    sigmas: Tensor,
    denoise: Any,
    x: Tensor,
    seed: int = 42,
    on_step: OnStep = ignore,
    sampling: ModelSampling = SAMPLING,
    **options: Any,
) -> Tensor:
    spec, reporter = SAMPLER_TABLE[name], StepReporter(on_step)
    if spec.takes_tau:
        options["tau"] = middle(sampling)
    if spec.resizes:
        options["noise_like"] = noise_like(x, seed)
    if spec.noise != "none":
        options["noise"] = noise_for(name, x, sigmas, seed)
    steps = SamplingSteps(fit_sigmas(spec, sampling, sigmas), reporter)
    return load_sampler(spec, sampling.prediction)(reporter.watch(denoise), x, steps, **options)


def sigmas_for(name: str, scheduler: str, steps: int, sampling: ModelSampling = SAMPLING) -> Tensor:
    discard = SAMPLER_TABLE[name].discards_penultimate
    return calculate_sigmas(sampling, scheduler, steps, discard_penultimate=discard)


def assert_the_references(key: str, **options: Any) -> None:
    """Other implementations were seen to differ by 2e-5 of the spread.

    The toy denoiser is steep between its two values, so that another processor's rounding moves
    single values further.
    """
    kind, name, scheduler, steps = key.split("/")
    sampling, toy = SAMPLINGS[kind], Toy(name)
    sigmas = sigmas_for(name, scheduler, int(steps), sampling)
    start = start_noise(SHAPE, 42)
    x = sampling.add_noise(torch.zeros(SHAPE), start, sigmas[0], sampling.is_max_denoise(sigmas[0]))
    got = sample(name, sigmas, toy, x, sampling=sampling, **options)
    got = sampling.undo_noise_scaling(got, sigmas[-1])
    looser = 100 if key in CANCELLED else 1
    assert toy.calls == FACTS[key]["nfe"]
    assert mean_error(got, GOLDENS[key]) <= looser * 5e-5
    assert largest_error(got, GOLDENS[key]) <= looser * 1e-3


@pytest.mark.parametrize("key", CASES)
def test_a_sampler_gives_the_references_numbers(key: str) -> None:
    assert_the_references(key)


@pytest.mark.parametrize("key", GUARDED)
def test_unipc_can_leave_out_a_single_step(key: str) -> None:
    assert_the_references(key, single_step=False)


def test_one_step_of_unipc_is_a_step() -> None:
    sigmas, toy = sigmas_for("uni_pc", "sgm_uniform", 1), Toy("uni_pc")
    x = start_noise(SHAPE, 42) * sigmas[0]
    got = sample("uni_pc", sigmas, toy, x)
    assert torch.allclose(got, toy(x, sigmas[0]), atol=0.01)


@pytest.mark.parametrize("name", sorted(SAMPLER_TABLE.keys() - {"dpm_fast", "dpm_adaptive"}))
def test_a_flow_ends_at_the_only_image_there_is(name: str) -> None:
    """Those left out end above 0. UniPC's last sigma is 0.001, so a little noise stays."""
    sampling, value = FlowSampling(), torch.full(SHAPE, 0.4)
    sigmas = sigmas_for(name, "simple", 12, sampling)
    start = start_noise(SHAPE, 3) * sigmas[0]

    def denoise(_x: Tensor, _sigma: Tensor) -> Any:
        return (value, value) if SAMPLER_TABLE[name].needs_unguided else value

    got = sample(name, sigmas, denoise, start, sampling=sampling)
    assert (got - value).abs().max() < 0.02


SPREAD = 0.7


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """The exact denoiser of data that is normal with standard deviation SPREAD."""
    return x * SPREAD**2 / (SPREAD**2 + sigma**2)


def without_guidance(x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The same for both predictions: what CFG++ sees at guidance 1."""
    return gaussian(x, sigma), gaussian(x, sigma)


def exact_denoiser(name: str) -> Any:
    return without_guidance if SAMPLER_TABLE[name].needs_unguided else gaussian


def exact(x: Tensor, start: float, end: float) -> Tensor:
    """Solve the probability-flow ODE for x from sigma `start` to sigma `end`."""
    return x * math.sqrt((SPREAD**2 + end**2) / (SPREAD**2 + start**2))


# Observed order of convergence over a smooth schedule that ends above zero.
ORDERS = {
    "euler": 1.0,
    "ddim": 1.0,
    "heun": 2.0,
    "dpm_2": 2.0,
    "dpmpp_2m": 2.0,
    "lms": 2.5,
    "ipndm": 0.9,
    "deis": 2.0,
    "uni_pc": 2.0,
    "uni_pc_bh2": 2.0,
    "euler_cfg_pp": 1.0,
    "dpmpp_2m_cfg_pp": 1.0,
    "heunpp2": 1.0,
    "res_multistep": 1.95,
    "res_multistep_cfg_pp": 1.95,
    "gradient_estimation": 0.9,
    "gradient_estimation_cfg_pp": 0.9,
}


def error(name: str, steps: int) -> float:
    sigmas = polynomial(steps + 1, 0.5, 5.0, 7.0)[:-1].double()
    x = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
    got = sample(name, sigmas, exact_denoiser(name), x)
    return float((got - exact(x, 5.0, float(sigmas[-1]))).abs().max())


@pytest.mark.parametrize("name", ORDERS)
def test_a_sampler_converges_to_the_exact_solution_at_its_order(name: str) -> None:
    coarse, fine = error(name, 20), error(name, 40)
    assert fine < 0.03
    assert math.log2(coarse / fine) >= ORDERS[name] - 0.25


@pytest.mark.parametrize(("name", "tolerance"), [("ipndm_v", 1e-3), ("dpm_fast", 1e-2)])
def test_a_sampler_of_mixed_orders_comes_near_the_exact_solution(
    name: str, tolerance: float
) -> None:
    assert error(name, 21) < tolerance


def test_dpm_adaptive_keeps_its_tolerance() -> None:
    assert error("dpm_adaptive", 5) < 0.05


@pytest.mark.parametrize("pece", [False, True])
def test_sa_solver_without_noise_converges_at_order_two_or_more(pece: bool) -> None:
    def at(steps: int) -> float:
        sigmas = polynomial(steps + 1, 0.5, 5.0, 7.0)[:-1].double()
        x = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
        got = sa_solver(gaussian, x, SamplingSteps(sigmas), noise=draw_nothing, pece=pece)
        return float((got - exact(x, 5.0, float(sigmas[-1]))).abs().max())

    assert math.log2(at(20) / at(40)) >= 1.75


STOCHASTIC = [name for name, spec in SAMPLER_TABLE.items() if spec.noise != "none"]


# lcm jumps to D at each step, which narrows the data; it is for models distilled to allow that.
# The CFG++ form of 2S mixes predictions of two sigmas, which narrows it too.
NARROWING = {"lcm", "dpmpp_2s_ancestral_cfg_pp"}


@pytest.mark.parametrize("name", [name for name in STOCHASTIC if name not in NARROWING])
def test_a_stochastic_sampler_gives_the_datas_spread(name: str) -> None:
    """With 60 steps the spread of 16,384 values is that of the data within a few percent."""
    sigmas = polynomial(60, 0.03, 14.6, 7.0)
    x = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0)) * sigmas[0]
    got = sample(name, sigmas, exact_denoiser(name), x, seed=7)
    assert float(got.std()) == pytest.approx(SPREAD, rel=0.06)
    assert abs(float(got.mean())) < 0.03


@pytest.mark.parametrize("name", SAMPLER_TABLE)
def test_a_sampler_is_repeatable_and_leaves_its_inputs_alone(name: str) -> None:
    sigmas = sigmas_for(name, "karras", 5)
    x, original_sigmas = start_noise(SHAPE, 1) * sigmas[0], sigmas.clone()
    before = x.clone()
    first, second = (sample(name, sigmas, Toy(name), x) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(x, before)
    assert torch.equal(sigmas, original_sigmas)


# They choose their own steps between the ends of the sigmas.
OWN_STEPS = {"dpm_fast", "dpm_adaptive"}


@pytest.mark.parametrize("name", [name for name in SAMPLER_TABLE if name not in OWN_STEPS])
def test_every_step_is_reported(name: str) -> None:
    sigmas, reported = sigmas_for(name, "normal", 4), list[int]()
    x = start_noise(SHAPE, 1) * sigmas[0]
    sample(name, sigmas, Toy(name), x, on_step=lambda step, _denoised: reported.append(step))
    assert reported == list(range(len(sigmas) - 1))


@pytest.mark.parametrize("name", sorted(OWN_STEPS))
def test_steps_of_their_own_are_reported_in_order_and_range(name: str) -> None:
    sigmas, reported = sigmas_for(name, "normal", 7), list[int]()
    x = start_noise(SHAPE, 1) * sigmas[0]
    sample(name, sigmas, Toy(name), x, on_step=lambda step, _denoised: reported.append(step))
    assert reported == sorted(reported)
    assert reported[-1] == len(sigmas) - 2


@pytest.mark.parametrize("name", sorted(SAMPLER_TABLE.keys() - {"dpm_adaptive"}))
def test_sigmas_stay_on_the_cpu_and_nothing_waits_for_the_device(name: str) -> None:
    """On the device "meta" asking for a value is an error, as is mixing devices.

    dpm_adaptive chooses its steps by values and has to wait for them.
    """
    spec, shape = SAMPLER_TABLE[name], (1, 4, 8, 8)

    def call(x: Tensor, sigma: Tensor) -> Any:
        assert (x.device.type, sigma.device.type) == ("meta", "cpu")
        return (x * 0.5, x * 0.4) if spec.needs_unguided else x * 0.5

    def noise(_sigma: Tensor, _sigma_next: Tensor) -> Tensor:
        return torch.zeros(shape, device="meta")

    options: dict[str, Any] = {"tau": lambda _sigma: 1.0} if spec.takes_tau else {}
    if spec.resizes:
        options["noise_like"] = torch.zeros_like
    if spec.noise != "none":
        options["noise"] = noise
    sigmas = sigmas_for(name, "normal", 6)
    x = torch.zeros(shape, device="meta")
    result = load_sampler(spec, "eps")(call, x, SamplingSteps(sigmas), **options)
    assert result.device.type == "meta"


def test_graph_files_may_name_every_sampler_but_that_of_a_node() -> None:
    assert SAMPLER_TABLE.keys() - set(SAMPLER_NAMES) == {"lcm_upscale"}
