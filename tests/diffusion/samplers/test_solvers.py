"""Samplers with options: orders, tolerances, noise scales, and a latent that grows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.conditioning.conditioning import PromptEntry
from latentloom.diffusion.errors import SamplingError
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.samplers.dpm_solver import dpm_adaptive
from latentloom.diffusion.samplers.euler import euler
from latentloom.diffusion.samplers.sa_solver import _adams_weights, sa_solver
from latentloom.diffusion.samplers.seeds import er_sde, exp_heun_2_x0, seeds_2
from latentloom.diffusion.samplers.step import Denoiser, SamplingSteps, StepReporter
from latentloom.diffusion.samplers.table import SamplerChoice
from latentloom.diffusion.sampling.guidance import Guidance
from latentloom.diffusion.sampling.noise import NoiseChoice, step_noise
from latentloom.diffusion.sampling.sample import SamplingRun, sample_custom
from latentloom.diffusion.schedules.schedules import calculate_sigmas
from latentloom.diffusion.schedules.sigmas import extend, polynomial
from tests.tiny_model import TEXT_DIM

SPREAD = 0.7


class Gaussian:
    """The exact denoiser of data that is normal with standard deviation SPREAD."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.calls += 1
        return x * SPREAD**2 / (SPREAD**2 + sigma**2)


def quiet(_sigma: Tensor, _sigma_next: Tensor) -> Tensor:
    return pytest.fail("it drew noise")


def error_of(function: Any, steps: int, **options: Any) -> float:
    """The distance to the solution of the probability-flow ODE, from sigma 5 to 0.5."""
    sigmas = polynomial(steps + 1, 0.5, 5.0, 7.0)[:-1].double()
    x = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
    got = function(Gaussian(), x, SamplingSteps(sigmas), noise=quiet, **options)
    exact = x * math.sqrt((SPREAD**2 + 0.5**2) / (SPREAD**2 + 5.0**2))
    return float((got - exact).abs().max())


def spread_of(function: Any, steps: int = 60, **options: Any) -> float:
    """The spread of what it samples; that of the data is SPREAD."""
    sigmas = polynomial(steps, 0.03, 14.6, 7.0)
    x = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0)) * sigmas[0]
    noise = step_noise(x, 7)
    done = function(Gaussian(), x, SamplingSteps(sigmas), noise=noise, **options)
    return float(done.std())


@pytest.mark.parametrize("order", [2, 3])
def test_a_smaller_tolerance_comes_nearer_the_exact_solution(order: int) -> None:
    loose, tight = (
        error_of(dpm_adaptive, 5, order=order, rtol=at, atol=at) for at in (0.05, 0.0005)
    )
    assert tight < loose / 5


@pytest.mark.parametrize("order", [2, 3])
def test_an_adaptive_step_asks_as_often_as_its_order(order: int) -> None:
    toy, sigmas = Gaussian(), polynomial(6, 0.5, 5.0, 7.0)
    reported = list[int]()
    x = torch.ones(1, 1, 2, 2)
    options: dict[str, Any] = {"order": order, "h_init": 0.01, "icoeff": 0.0}
    reporter = StepReporter(lambda index, _denoised: reported.append(index))
    dpm_adaptive(toy, x, SamplingSteps(sigmas, reporter), noise=quiet, **options)
    # Without a controller every step is accepted and as long as the first.
    assert len(reported) == math.ceil(math.log(5.0 / 0.5) / 0.01 - 1e-3)
    assert toy.calls == order * len(reported)


def test_the_controllers_terms_change_the_steps() -> None:
    plain = error_of(dpm_adaptive, 5)
    assert error_of(dpm_adaptive, 5, pcoeff=0.3) != plain
    assert error_of(dpm_adaptive, 5, dcoeff=0.2) != plain
    assert error_of(dpm_adaptive, 5, pcoeff=100.0, dcoeff=100.0, icoeff=100.0) < 0.2


def test_adaptive_steps_with_noise_keep_the_datas_spread() -> None:
    spread = spread_of(dpm_adaptive, eta=1.0, rtol=0.01, atol=0.001)
    assert spread == pytest.approx(SPREAD, rel=0.06)


@pytest.mark.parametrize("options", [{"rtol": 0.0, "atol": 0.0}, {"accept_safety": 100.0}])
def test_a_tolerance_that_no_step_meets_is_an_error(options: dict[str, float]) -> None:
    with pytest.raises(SamplingError, match="in 100 tries"):
        error_of(dpm_adaptive, 5, **options)


def test_adaptive_steps_stop_where_the_model_gives_no_numbers() -> None:
    def broken(x: Tensor, _sigma: Tensor) -> Tensor:
        return x * math.nan

    sigmas = polynomial(6, 0.5, 5.0, 7.0)
    with pytest.raises(SamplingError, match="NaN"):
        dpm_adaptive(broken, torch.ones(1, 1, 1, 1), SamplingSteps(sigmas), noise=quiet)


def test_er_sde_of_order_one_without_noise_is_euler() -> None:
    sigmas = calculate_sigmas_karras()
    x = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3)) * sigmas[0]
    got = er_sde(Gaussian(), x, SamplingSteps(sigmas), noise=quiet, order=1, eta=0.0)
    expected = euler(Gaussian(), x, SamplingSteps(sigmas))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def exp_heun(
    denoise: Denoiser, x: Tensor, steps: SamplingSteps, *, solver: Any, **_: Any
) -> Tensor:
    return exp_heun_2_x0(denoise, x, steps, solver=solver)


def calculate_sigmas_karras() -> Tensor:
    return polynomial(8, 0.03, 14.6, 7.0)


@pytest.mark.parametrize(("order", "least"), [(1, 0.9), (2, 1.8)])
def test_the_ode_of_er_sde_converges_at_its_order(order: int, least: float) -> None:
    coarse, fine = (error_of(er_sde, steps, order=order, eta=0.0) for steps in (20, 40))
    assert math.log2(coarse / fine) >= least


@pytest.mark.parametrize("kind", ["reverse", "extended"])
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_any_noise_scale_of_er_sde_keeps_the_datas_spread(eta: float, kind: str) -> None:
    assert spread_of(er_sde, eta=eta, kind=kind) == pytest.approx(SPREAD, rel=0.06)


@pytest.mark.parametrize("solver", ["phi_1", "phi_2"])
@pytest.mark.parametrize(("r", "eta"), [(0.3, 1.0), (1.0, 1.0), (0.5, 0.5)])
def test_any_stages_of_seeds_2_keep_the_datas_spread(r: float, eta: float, solver: str) -> None:
    assert spread_of(seeds_2, r=r, eta=eta, solver=solver) == pytest.approx(SPREAD, rel=0.06)


@pytest.mark.parametrize("solver", ["phi_1", "phi_2"])
def test_the_ode_of_exp_heun_is_of_order_2(solver: str) -> None:
    coarse, fine = (error_of(exp_heun, steps, solver=solver) for steps in (20, 40))
    assert math.log2(coarse / fine) >= 1.8


def test_a_large_eta_does_not_overflow() -> None:
    assert math.isfinite(spread_of(er_sde, 10, eta=100.0))


@pytest.mark.parametrize("orders", [(1, 0), (2, 0), (2, 1), (3, 4), (6, 6)])
def test_any_orders_of_sa_solver_come_near_the_exact_solution(orders: tuple[int, int]) -> None:
    predictor, corrector = orders
    coarse, fine = (
        error_of(sa_solver, steps, predictor=predictor, corrector=corrector) for steps in (20, 40)
    )
    assert fine < 0.05
    assert fine < coarse / 1.8


def test_without_a_corrector_pece_makes_one_call_a_step() -> None:
    toy, sigmas = Gaussian(), calculate_sigmas_karras()
    x = torch.ones(1, 1, 2, 2) * sigmas[0]
    sa_solver(toy, x, SamplingSteps(sigmas), noise=quiet, corrector=0, pece=True)
    assert toy.calls == len(sigmas) - 1


def test_simple_weights_of_order_two_are_those_of_the_paper() -> None:
    """Appendix D: the first moment by its leading term, (1 + tau²) h² / 2."""
    start, end, earlier, tau = torch.tensor(0.5), torch.tensor(0.8), torch.tensor(0.1), 0.6
    rate, h = 1 + tau**2, 0.3
    older, newer = _adams_weights(
        torch.stack([earlier, start]), start, end, tau, simple=True
    ).tolist()
    assert older == pytest.approx(rate * h**2 / 2 / (0.1 - 0.5), rel=1e-4)
    assert older + newer == pytest.approx(1 - math.exp(-rate * h), rel=1e-4)
    at_start, at_end = _adams_weights(
        torch.stack([start, end]), start, end, tau, simple=True
    ).tolist()
    assert at_end == pytest.approx(rate * h / 2, rel=1e-4)
    assert at_start + at_end == pytest.approx(1 - math.exp(-rate * h), rel=1e-4)


def test_exact_weights_integrate_powers_exactly() -> None:
    start, end, tau = torch.tensor(0.5), torch.tensor(0.9), 0.4
    points = torch.tensor([-0.4, 0.0, 0.2, 0.5])
    rate = 1 + tau**2
    grid = torch.linspace(0.5, 0.9, 20_001, dtype=torch.float64)
    kernel = rate * torch.exp(-rate * (0.9 - grid))
    weights = _adams_weights(points, start, end, tau, simple=False)
    for power in range(4):
        expected = torch.trapezoid(kernel * grid**power, grid)
        assert float((weights * points**power).sum()) == pytest.approx(float(expected), abs=1e-5)


def grown(tiny: Checkpoint, latent: Latent, steps: int = 4, **options: Any) -> Latent:
    entry = PromptEntry(torch.ones(1, 77, TEXT_DIM))
    choice = SamplerChoice("lcm_upscale", tuple(options.items()))
    sigmas = calculate_sigmas(tiny.model.sampling, "normal", steps)
    guidance = Guidance(tiny.model, (entry,), (entry,), 1.0)
    return sample_custom(guidance, latent, SamplingRun(sigmas, choice, NoiseChoice(4))).output


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"scale": 2.0}, (12, 20)),
        ({"scale": 1.5, "scale_steps": 1, "method": "bilinear"}, (9, 15)),
        ({"scale": 1.5, "scale_steps": 900}, (9, 15)),
        ({"scale": 2.0, "scale_steps": 0}, (6, 10)),
        ({"scale": 0.1}, (1, 1)),
    ],
)
def test_a_latent_grows_on_its_way(
    tiny: Checkpoint, options: dict[str, Any], size: tuple[int, int]
) -> None:
    got = grown(tiny, Latent(torch.zeros(2, 4, 6, 10)), **options)
    assert got.samples.shape[2:] == size
    assert bool(torch.isfinite(got.samples).all())


def test_without_growth_it_is_lcm(tiny: Checkpoint) -> None:
    latent = Latent(torch.zeros(1, 4, 6, 10))
    entry = PromptEntry(torch.ones(1, 77, TEXT_DIM))
    sigmas = calculate_sigmas(tiny.model.sampling, "normal", 4)
    guidance = Guidance(tiny.model, (entry,), (entry,), 1.0)
    plain = sample_custom(
        guidance, latent, SamplingRun(sigmas, SamplerChoice("lcm"), NoiseChoice(4))
    )
    got = grown(tiny, latent, scale=1.0, scale_steps=0)
    assert torch.equal(got.samples, plain.output.samples)


def test_a_latent_with_a_mask_is_not_grown(tiny: Checkpoint) -> None:
    latent = Latent(torch.zeros(1, 4, 6, 10))
    masked = replace(latent, noise_mask=torch.ones(1, 48, 80))
    with pytest.raises(SamplingError, match="noise mask"):
        grown(tiny, masked, scale=2.0)


def test_steps_between_two_sigmas_are_cut_into_parts() -> None:
    sigmas = torch.tensor([10.0, 6.0, 2.0, 0.0])
    assert extend(sigmas, 2, math.inf, 5.0, "linear").tolist() == [10, 8, 6, 4, 2, 0]
    assert extend(sigmas, 4, 7.0, 5.0, "linear").tolist() == [10, 6, 5, 4, 3, 2, 0]
    assert extend(sigmas, 1, math.inf, 0.0, "sine").tolist() == sigmas.tolist()
    assert extend(sigmas[:0], 3, math.inf, 0.0, "linear").tolist() == []


def test_spacing_moves_the_new_sigmas_towards_an_end_of_the_step() -> None:
    sigmas = torch.tensor([10.0, 0.0])
    cosine, sine = (
        float(extend(sigmas, 2, math.inf, 0.0, spacing)[1]) for spacing in ("cosine", "sine")
    )
    assert cosine == pytest.approx(10 * (1 - math.sin(math.pi / 4)), rel=1e-5)
    assert sine == pytest.approx(10 * math.cos(math.pi / 4), rel=1e-5)
