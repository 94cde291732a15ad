"""Sampling put together from parts gives what KSampler gives, and what it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import latentloom
from latentloom.diffusion.sampling.guidance import perpendicular_part
from latentloom.diffusion.schedules.model_sampling import MAX_PERCENT_SIGMA
from latentloom.engine.errors import GraphError, InputError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.builder import Builder, NodeHandle, NodeOutput
from latentloom.nodes import samplers, schedulers, solvers


class Parts:
    """A builder with a model, two prompts and a latent in it."""

    def __init__(self) -> None:
        self.builder: Builder = latentloom.build()
        self.model, clip, _ = self.builder.CheckpointLoaderSimple(ckpt_name="tiny")
        self.positive = self.builder.CLIPTextEncode(text="a fox", clip=clip)
        self.negative = self.builder.CLIPTextEncode(text="blurry", clip=clip)
        self.latent = self.builder.EmptyLatentImage(model=self.model)

    def sides(self) -> dict[str, NodeHandle | NodeOutput]:
        return {"model": self.model, "positive": self.positive, "negative": self.negative}

    def sigmas(self, steps: int = 4) -> NodeHandle:
        return self.builder.BasicScheduler(model=self.model, scheduler="karras", steps=steps)

    def advanced(
        self, guider: NodeHandle, sigmas: NodeHandle | NodeOutput, **changes: Any
    ) -> NodeHandle:
        parts = {
            "noise": self.builder.RandomNoise(noise_seed=5),
            "sampler": self.builder.KSamplerSelect(sampler_name="euler_ancestral"),
            "latent_image": self.latent,
        }
        return self.builder.SamplerCustomAdvanced(
            **{**parts, **changes}, guider=guider, sigmas=sigmas, id="custom"
        )

    def run(self, engine: Engine, *targets: str) -> Any:
        result = engine.run(self.builder.graph, targets=list(targets))
        assert result.errors == ()
        return result


def sampled(engine: Engine, parts: Parts, output: int = 0) -> torch.Tensor:
    result = parts.run(engine, "custom")
    value = result["custom"]
    samples: torch.Tensor = value[output].samples
    return samples


def ksampler(engine: Engine, **changes: Any) -> torch.Tensor:
    parts = Parts()
    options = {"seed": 5, "steps": 4, "cfg": 4.0, "scheduler": "karras", **changes}
    parts.builder.KSampler(
        **parts.sides(),
        latent_image=parts.latent,
        sampler_name="euler_ancestral",
        id="plain",
        **options,
    )
    samples: torch.Tensor = parts.run(engine, "plain")["plain"].samples
    return samples


def test_the_parts_together_are_ksampler(engine: Engine) -> None:
    parts = Parts()
    guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
    parts.advanced(guider, parts.sigmas())
    assert torch.equal(sampled(engine, parts), ksampler(engine))


def test_sampler_custom_is_ksampler_too(engine: Engine) -> None:
    parts = Parts()
    parts.builder.SamplerCustom(
        **parts.sides(),
        noise_seed=5,
        cfg=4.0,
        sampler=parts.builder.KSamplerSelect(sampler_name="euler_ancestral"),
        sigmas=parts.sigmas(),
        latent_image=parts.latent,
        id="custom",
    )
    assert torch.equal(sampled(engine, parts), ksampler(engine))


def test_without_guidance_the_negative_does_not_count(engine: Engine) -> None:
    parts = Parts()
    guider = parts.builder.BasicGuider(model=parts.model, conditioning=parts.positive)
    parts.advanced(guider, parts.sigmas())
    assert torch.equal(sampled(engine, parts), ksampler(engine, cfg=1.0))


def test_two_parts_of_a_schedule_without_new_noise_are_one_run(engine: Engine) -> None:
    parts = Parts()
    guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
    euler = {"sampler": parts.builder.KSamplerSelect(sampler_name="euler")}
    sigmas = parts.sigmas(6)
    high, low = parts.builder.SplitSigmas(sigmas=sigmas, step=2)
    parts.builder.SamplerCustomAdvanced(
        **euler,
        noise=parts.builder.RandomNoise(noise_seed=5),
        guider=guider,
        sigmas=sigmas,
        latent_image=parts.latent,
        id="full",
    )
    first = parts.builder.SamplerCustomAdvanced(
        **euler,
        noise=parts.builder.RandomNoise(noise_seed=5),
        guider=guider,
        sigmas=high,
        latent_image=parts.latent,
        id="first",
    )
    rest = {"noise": parts.builder.DisableNoise(), "latent_image": next(iter(first))}
    parts.advanced(guider, low, **euler, **rest)
    result = parts.run(engine, "full", "custom", "first")
    full = result["full"][0].samples
    assert torch.allclose(result["custom"][0].samples, full, atol=1e-3 * float(full.std()))
    part = result["first"]
    assert not torch.allclose(part[0].samples, part[1].samples, rtol=1e-2)


def test_the_last_prediction_is_the_output_if_sigmas_end_at_0(engine: Engine) -> None:
    parts = Parts()
    guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
    parts.advanced(guider, parts.sigmas())
    assert torch.equal(sampled(engine, parts, 0), sampled(engine, parts, 1))


def test_no_sigmas_leave_the_latent(engine: Engine) -> None:
    parts = Parts()
    guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
    sigmas = parts.builder.BasicScheduler(model=parts.model, denoise=0.0)
    parts.advanced(guider, sigmas)
    assert not sampled(engine, parts).any()


def test_one_sigma_adds_its_noise_without_model_calls(engine: Engine) -> None:
    parts = Parts()
    guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
    high, low = parts.builder.SplitSigmas(sigmas=parts.sigmas(), step=0)
    first = parts.advanced(guider, high)
    for key, sigmas, noise, latent in (
        ("rest", low, parts.builder.DisableNoise(), next(iter(first))),
        ("full", low, parts.builder.RandomNoise(noise_seed=5), parts.latent),
    ):
        parts.builder.SamplerCustomAdvanced(
            noise=noise,
            guider=guider,
            sampler=parts.builder.KSamplerSelect(sampler_name="euler"),
            sigmas=sigmas,
            latent_image=latent,
            id=key,
        )
    result = parts.run(engine, "custom", "rest", "full")
    assert [(done.steps, done.model_calls) for done in result["custom"][0].passes] == [(0, 0)]
    assert torch.equal(result["custom"][0].samples, result["custom"][1].samples)
    full = result["full"][0].samples
    assert torch.allclose(result["rest"][0].samples, full, atol=1e-3 * float(full.std()))


def test_of_too_many_sigmas_the_last_are_taken(models: Path) -> None:
    from latentloom.diffusion.networks.load import load_checkpoint
    from latentloom.diffusion.schedules.schedules import calculate_sigmas

    model = load_checkpoint(models / "tiny").model
    full = calculate_sigmas(model.sampling, "ddim_uniform", 30)
    got = schedulers.basic_scheduler(model, "ddim_uniform", 30)
    assert (len(full), len(got)) == (32, 31)
    assert torch.equal(got, full[1:])


@pytest.mark.parametrize("style", ["regular", "nested"])
def test_two_prompts_alike_are_one_at_the_outer_guidance(engine: Engine, style: str) -> None:
    parts = Parts()
    guider = parts.builder.DualCFGGuider(
        model=parts.model,
        cond1=parts.positive,
        cond2=parts.positive,
        negative=parts.negative,
        cfg_conds=2.0,
        cfg_cond2_negative=4.0,
        style=style,
    )
    parts.advanced(guider, parts.sigmas())
    got, expected = sampled(engine, parts), ksampler(engine)
    assert torch.allclose(got, expected, atol=1e-3 * float(expected.std()))


def test_the_two_styles_mix_as_documented(engine: Engine) -> None:
    results = {}
    for style in ("regular", "nested"):
        parts = Parts()
        other = parts.builder.ConditioningZeroOut(conditioning=parts.positive)
        guider = parts.builder.DualCFGGuider(
            model=parts.model,
            cond1=parts.positive,
            cond2=other,
            negative=parts.negative,
            cfg_conds=3.0,
            cfg_cond2_negative=1.5,
            style=style,
        )
        sigmas = parts.builder.BasicScheduler(model=parts.model, steps=1)
        euler = parts.builder.KSamplerSelect(sampler_name="euler")
        parts.advanced(guider, sigmas, sampler=euler)
        results[style] = sampled(engine, parts)
    sides = {}
    for name, prompt in (("first", "positive"), ("second", "zero"), ("negative", "negative")):
        parts = Parts()
        zero = parts.builder.ConditioningZeroOut(conditioning=parts.positive)
        prompts = {"positive": parts.positive, "zero": zero, "negative": parts.negative}
        guider = parts.builder.BasicGuider(model=parts.model, conditioning=prompts[prompt])
        sigmas = parts.builder.BasicScheduler(model=parts.model, steps=1)
        parts.advanced(guider, sigmas, sampler=parts.builder.KSamplerSelect(sampler_name="euler"))
        sides[name] = sampled(engine, parts)
    first, second, negative = sides["first"], sides["second"], sides["negative"]
    regular = negative + 1.5 * (second - negative) + 3.0 * (first - second)
    nested = negative + 1.5 * (second + 3.0 * (first - second) - negative)
    atol = 1e-3 * float(regular.std())
    assert torch.allclose(results["regular"], regular, atol=atol)
    assert torch.allclose(results["nested"], nested, atol=atol)


@pytest.mark.parametrize(
    ("name", "quiet", "sampler_name"),
    [
        ("SamplerEulerAncestral", {"eta": 0.0}, "euler"),
        ("SamplerDPMPP_2M_SDE", {}, "dpmpp_2m_sde"),
        ("SamplerDPMPP_2M_SDE", {"solver_type": "heun"}, "dpmpp_2m_sde_heun"),
        ("SamplerDPMPP_SDE", {"noise_device": "cpu"}, "dpmpp_sde"),
        ("SamplerDPMPP_3M_SDE", {}, "dpmpp_3m_sde"),
        ("SamplerDPMPP_2S_Ancestral", {}, "dpmpp_2s_ancestral"),
        ("SamplerEulerAncestralCFGPP", {}, "euler_ancestral_cfg_pp"),
        ("SamplerLMS", {}, "lms"),
        ("SamplerDPMAdaptative", {}, "dpm_adaptive"),
        ("SamplerER_SDE", {}, "er_sde"),
        ("SamplerER_SDE", {"solver_type": "ODE", "max_stage": 1}, "euler"),
        ("SamplerSASolver", {}, "sa_solver"),
        ("SamplerSASolver", {"use_pece": True}, "sa_solver_pece"),
        ("SamplerLCMUpscale", {}, "lcm"),
    ],
)
def test_a_sampler_with_its_own_options_is_the_named_one(
    engine: Engine, name: str, quiet: dict[str, Any], sampler_name: str
) -> None:
    results = []
    for sampler, options in ((name, quiet), ("KSamplerSelect", {"sampler_name": sampler_name})):
        parts = Parts()
        guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
        if sampler == "SamplerSASolver":
            options = {**options, "model": parts.model}
        made = getattr(parts.builder, sampler)(**options)
        parts.advanced(guider, parts.sigmas(), sampler=made)
        results.append(sampled(engine, parts))
    got, expected = results
    assert torch.allclose(got, expected, atol=1e-4 * float(expected.std()))


def test_options_change_the_result(engine: Engine) -> None:
    results = []
    for options in ({}, {"s_noise": 0.5}, {"eta": 0.5}):
        parts = Parts()
        guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
        made = parts.builder.SamplerEulerAncestral(**options)
        parts.advanced(guider, parts.sigmas(), sampler=made)
        results.append(sampled(engine, parts))
    assert torch.equal(results[0], ksampler(engine))
    assert not torch.allclose(results[1], results[0], rtol=1e-2)
    assert not torch.allclose(results[2], results[0], rtol=1e-2)
    assert not torch.allclose(results[2], results[1], rtol=1e-2)


def test_formulas_without_a_value_are_rejected() -> None:
    with pytest.raises(InputError, match=r"rho"):
        schedulers.karras_scheduler(rho=0.0)
    with pytest.raises(InputError, match=r"sigma_min"):
        schedulers.exponential_scheduler(sigma_min=0.0)
    with pytest.raises(InputError, match=r"sigma_min"):
        schedulers.polyexponential_scheduler(sigma_min=0.0)
    with pytest.raises(InputError, match=r"beta_d: .*NaN or infinity"):
        schedulers.vp_scheduler(beta_d=5000.0)


def test_a_first_step_of_size_0_is_rejected_before_the_run(engine: Engine) -> None:
    parts = Parts()
    parts.builder.SamplerDPMAdaptative(h_init=0.0, id="sampler")
    with pytest.raises(GraphError, match=r"SamplerDPMAdaptative .*\.h_init: expected a first step"):
        engine.run(parts.builder.graph, targets=["sampler"])


def test_the_noise_of_sa_solver_lies_between_the_given_shares(models: Path) -> None:
    from latentloom.diffusion.networks.load import load_checkpoint

    model = load_checkpoint(models / "tiny").model
    choice = solvers.sampler_sa_solver(model=model, sde_start_percent=0.5)
    assert dict(choice.options)["tau_high"] == model.sampling.percent_to_sigma(0.5)


def test_options_of_sa_solver_change_the_result(engine: Engine) -> None:
    results = []
    for options in ({}, {"eta": 0.0}, {"predictor_order": 1}, {"corrector_order": 0}):
        parts = Parts()
        guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
        made = parts.builder.SamplerSASolver(model=parts.model, **options)
        parts.advanced(guider, parts.sigmas(6), sampler=made)
        results.append(sampled(engine, parts))
    assert len({samples.numpy().tobytes() for samples in results}) == 4


def test_a_percent_is_a_sigma(models: Path) -> None:
    from latentloom.diffusion.networks.load import load_checkpoint

    model = load_checkpoint(models / "tiny").model
    to_sigma = schedulers.sampling_percent_to_sigma
    assert to_sigma(model, 0.0) == (MAX_PERCENT_SIGMA,)
    assert to_sigma(model, 0.0, True) == (model.sampling.sigma_max,)
    assert to_sigma(model, 1.0, True) == (model.sampling.sigma_min,)
    assert to_sigma(model, 0.5, True) == to_sigma(model, 0.5)
    with pytest.raises(InputError, match=r"alpha"):
        schedulers.beta_sampling_scheduler(model, alpha=0.0)


def test_noise_and_samplers_are_compared_by_value() -> None:
    assert samplers.random_noise(3) == samplers.random_noise(3) != samplers.random_noise(4)
    assert samplers.disable_noise() != samplers.random_noise(0)
    assert samplers.sampler_lms(3) != samplers.sampler_lms(4)


def test_add_noise_adds_the_noise_of_the_sampler(engine: Engine) -> None:
    results = []
    for before in (True, False):
        parts = Parts()
        _, low = parts.builder.SplitSigmas(sigmas=parts.sigmas(6), step=2)
        guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
        noise: NodeHandle | NodeOutput = parts.builder.RandomNoise(noise_seed=5)
        latent: NodeHandle | NodeOutput = parts.latent
        if before:
            latent = parts.builder.AddNoise(
                model=parts.model, noise=noise, sigmas=low, latent_image=latent
            )
            noise = parts.builder.DisableNoise()
        euler = parts.builder.KSamplerSelect(sampler_name="euler")
        parts.advanced(guider, low, sampler=euler, noise=noise, latent_image=latent)
        results.append(sampled(engine, parts))
    assert torch.allclose(results[0], results[1], atol=1e-3 * float(results[1].std()))


def test_a_negative_along_the_positive_does_not_count(engine: Engine) -> None:
    results = []
    for scale in (0.0, 1.0):
        parts = Parts()
        guider = parts.builder.PerpNegGuider(
            model=parts.model,
            positive=parts.positive,
            negative=parts.positive,
            empty_conditioning=parts.negative,
            cfg=4.0,
            neg_scale=scale,
        )
        parts.advanced(guider, parts.sigmas())
        results.append(sampled(engine, parts))
    assert torch.allclose(results[0], results[1], atol=1e-3 * float(results[1].std()))
    # Without a negative it is guidance against the empty prompt.
    assert torch.allclose(results[0], ksampler(engine), atol=1e-3 * float(results[0].std()))


def test_perp_neg_takes_the_batch_as_one() -> None:
    toward, away = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    perpendicular = perpendicular_part(away, toward)
    assert abs(float((perpendicular * toward).sum())) < 1e-3
    along = (toward * away).sum() / toward.square().sum()
    torch.testing.assert_close(perpendicular + along * toward, away)
