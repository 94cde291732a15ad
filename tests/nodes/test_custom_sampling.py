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
from latentloom.engine.graph.builder import Builder, Handle, Output
from latentloom.nodes import samplers, schedulers, solvers


class Parts:
    """A builder with a model, two prompts and a latent in it."""

    def __init__(self) -> None:
        self.builder: Builder = latentloom.build()
        self.model, clip, _ = self.builder.CheckpointLoaderSimple(ckpt_name="tiny")
        self.positive = self.builder.CLIPTextEncode(text="a fox", clip=clip)
        self.negative = self.builder.CLIPTextEncode(text="blurry", clip=clip)
        self.latent = self.builder.EmptyLatentImage(model=self.model)

    def sides(self) -> dict[str, Handle | Output]:
        return {"model": self.model, "positive": self.positive, "negative": self.negative}

    def levels(self, steps: int = 4) -> Handle:
        return self.builder.BasicScheduler(model=self.model, scheduler="karras", steps=steps)

    def advanced(self, guider: Handle, levels: Handle | Output, **changes: Any) -> Handle:
        parts = {
            "noise": self.builder.RandomNoise(noise_seed=5),
            "sampler": self.builder.KSamplerSelect(sampler_name="euler_ancestral"),
            "latent_image": self.latent,
        }
        return self.builder.SamplerCustomAdvanced(
            **{**parts, **changes}, guider=guider, sigmas=levels, id="custom"
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


def test_put_together_it_is_ksampler(engine: Engine) -> None:
    parts = Parts()
    guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
    parts.advanced(guider, parts.levels())
    assert torch.equal(sampled(engine, parts), ksampler(engine))


def test_sampler_custom_is_ksampler_too(engine: Engine) -> None:
    parts = Parts()
    parts.builder.SamplerCustom(
        **parts.sides(),
        noise_seed=5,
        cfg=4.0,
        sampler=parts.builder.KSamplerSelect(sampler_name="euler_ancestral"),
        sigmas=parts.levels(),
        latent_image=parts.latent,
        id="custom",
    )
    assert torch.equal(sampled(engine, parts), ksampler(engine))


def test_without_guidance_the_negative_does_not_count(engine: Engine) -> None:
    parts = Parts()
    guider = parts.builder.BasicGuider(model=parts.model, conditioning=parts.positive)
    parts.advanced(guider, parts.levels())
    assert torch.equal(sampled(engine, parts), ksampler(engine, cfg=1.0))


def test_two_stretches_without_new_noise_are_one(engine: Engine) -> None:
    parts = Parts()
    guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
    euler = {"sampler": parts.builder.KSamplerSelect(sampler_name="euler")}
    levels = parts.levels(6)
    high, low = parts.builder.SplitSigmas(sigmas=levels, step=2)
    parts.builder.SamplerCustomAdvanced(
        **euler,
        noise=parts.builder.RandomNoise(noise_seed=5),
        guider=guider,
        sigmas=levels,
        latent_image=parts.latent,
        id="whole",
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
    result = parts.run(engine, "whole", "custom", "first")
    whole = result["whole"][0].samples
    assert torch.allclose(result["custom"][0].samples, whole, atol=1e-3 * float(whole.std()))
    part = result["first"]
    assert not torch.allclose(part[0].samples, part[1].samples, rtol=1e-2)


def test_the_last_prediction_is_the_output_where_levels_end_at_0(engine: Engine) -> None:
    parts = Parts()
    guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
    parts.advanced(guider, parts.levels())
    assert torch.equal(sampled(engine, parts, 0), sampled(engine, parts, 1))


def test_no_levels_leave_the_latent(engine: Engine) -> None:
    parts = Parts()
    guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
    levels = parts.builder.BasicScheduler(model=parts.model, denoise=0.0)
    parts.advanced(guider, levels)
    assert not sampled(engine, parts).any()


def test_one_level_adds_its_noise_and_asks_nothing(engine: Engine) -> None:
    parts = Parts()
    guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
    high, low = parts.builder.SplitSigmas(sigmas=parts.levels(), step=0)
    first = parts.advanced(guider, high)
    for key, levels, noise, latent in (
        ("rest", low, parts.builder.DisableNoise(), next(iter(first))),
        ("whole", low, parts.builder.RandomNoise(noise_seed=5), parts.latent),
    ):
        parts.builder.SamplerCustomAdvanced(
            noise=noise,
            guider=guider,
            sampler=parts.builder.KSamplerSelect(sampler_name="euler"),
            sigmas=levels,
            latent_image=latent,
            id=key,
        )
    result = parts.run(engine, "custom", "rest", "whole")
    assert [(each.steps, each.model_calls) for each in result["custom"][0].passes] == [(0, 0)]
    assert torch.equal(result["custom"][0].samples, result["custom"][1].samples)
    whole = result["whole"][0].samples
    assert torch.allclose(result["rest"][0].samples, whole, atol=1e-3 * float(whole.std()))


def test_of_more_levels_than_asked_for_the_last_are_kept(models: Path) -> None:
    from latentloom.diffusion.networks.load import load_checkpoint
    from latentloom.diffusion.schedules.schedules import calculate_sigmas

    model = load_checkpoint(models / "tiny").model
    whole = calculate_sigmas(model.sampling, "ddim_uniform", 30)
    got = schedulers.basic_scheduler(model, "ddim_uniform", 30)
    assert (len(whole), len(got)) == (32, 31)
    assert torch.equal(got, whole[1:])


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
    parts.advanced(guider, parts.levels())
    got, want = sampled(engine, parts), ksampler(engine)
    assert torch.allclose(got, want, atol=1e-3 * float(want.std()))


def test_the_two_styles_mix_as_they_say(engine: Engine) -> None:
    found = {}
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
        levels = parts.builder.BasicScheduler(model=parts.model, steps=1)
        euler = parts.builder.KSamplerSelect(sampler_name="euler")
        parts.advanced(guider, levels, sampler=euler)
        found[style] = sampled(engine, parts)
    sides = {}
    for name, prompt in (("first", "positive"), ("second", "zero"), ("negative", "negative")):
        parts = Parts()
        zero = parts.builder.ConditioningZeroOut(conditioning=parts.positive)
        prompts = {"positive": parts.positive, "zero": zero, "negative": parts.negative}
        guider = parts.builder.BasicGuider(model=parts.model, conditioning=prompts[prompt])
        levels = parts.builder.BasicScheduler(model=parts.model, steps=1)
        parts.advanced(guider, levels, sampler=parts.builder.KSamplerSelect(sampler_name="euler"))
        sides[name] = sampled(engine, parts)
    first, second, negative = sides["first"], sides["second"], sides["negative"]
    regular = negative + 1.5 * (second - negative) + 3.0 * (first - second)
    nested = negative + 1.5 * (second + 3.0 * (first - second) - negative)
    atol = 1e-3 * float(regular.std())
    assert torch.allclose(found["regular"], regular, atol=atol)
    assert torch.allclose(found["nested"], nested, atol=atol)


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
    found = []
    for sampler, options in ((name, quiet), ("KSamplerSelect", {"sampler_name": sampler_name})):
        parts = Parts()
        guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
        if sampler == "SamplerSASolver":
            options = {**options, "model": parts.model}
        made = getattr(parts.builder, sampler)(**options)
        parts.advanced(guider, parts.levels(), sampler=made)
        found.append(sampled(engine, parts))
    got, want = found
    assert torch.allclose(got, want, atol=1e-4 * float(want.std()))


def test_options_change_what_they_should(engine: Engine) -> None:
    found = []
    for options in ({}, {"s_noise": 0.5}, {"eta": 0.5}):
        parts = Parts()
        guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
        made = parts.builder.SamplerEulerAncestral(**options)
        parts.advanced(guider, parts.levels(), sampler=made)
        found.append(sampled(engine, parts))
    assert torch.equal(found[0], ksampler(engine))
    assert not torch.allclose(found[1], found[0], rtol=1e-2)
    assert not torch.allclose(found[2], found[0], rtol=1e-2)
    assert not torch.allclose(found[2], found[1], rtol=1e-2)


def test_formulas_without_a_value_are_refused() -> None:
    with pytest.raises(InputError, match=r"rho"):
        schedulers.karras_scheduler(rho=0.0)
    with pytest.raises(InputError, match=r"sigma_min"):
        schedulers.exponential_scheduler(sigma_min=0.0)
    with pytest.raises(InputError, match=r"sigma_min"):
        schedulers.polyexponential_scheduler(sigma_min=0.0)
    with pytest.raises(InputError, match=r"beta_d: .*NaN or infinity"):
        schedulers.vp_scheduler(beta_d=5000.0)


def test_a_first_step_of_nothing_is_refused_before_the_run(engine: Engine) -> None:
    parts = Parts()
    parts.builder.SamplerDPMAdaptative(h_init=0.0, id="sampler")
    with pytest.raises(GraphError, match=r"SamplerDPMAdaptative .*\.h_init: expected a first step"):
        engine.run(parts.builder.graph, targets=["sampler"])


def test_the_noise_of_sa_solver_lies_where_it_is_told(models: Path) -> None:
    from latentloom.diffusion.networks.load import load_checkpoint

    model = load_checkpoint(models / "tiny").model
    choice = solvers.sampler_sa_solver(model=model, sde_start_percent=0.5)
    assert dict(choice.options)["tau_high"] == model.sampling.percent_to_sigma(0.5)


def test_options_of_sa_solver_count(engine: Engine) -> None:
    found = []
    for options in ({}, {"eta": 0.0}, {"predictor_order": 1}, {"corrector_order": 0}):
        parts = Parts()
        guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
        made = parts.builder.SamplerSASolver(model=parts.model, **options)
        parts.advanced(guider, parts.levels(6), sampler=made)
        found.append(sampled(engine, parts))
    assert len({each.numpy().tobytes() for each in found}) == 4


def test_a_percent_is_a_level(models: Path) -> None:
    from latentloom.diffusion.networks.load import load_checkpoint

    model = load_checkpoint(models / "tiny").model
    ask = schedulers.sampling_percent_to_sigma
    assert ask(model, 0.0) == (MAX_PERCENT_SIGMA,)
    assert ask(model, 0.0, True) == (model.sampling.sigma_max,)
    assert ask(model, 1.0, True) == (model.sampling.sigma_min,)
    assert ask(model, 0.5, True) == ask(model, 0.5)
    with pytest.raises(InputError, match=r"alpha"):
        schedulers.beta_sampling_scheduler(model, alpha=0.0)


def test_noise_and_samplers_are_told_apart_by_value() -> None:
    assert samplers.random_noise(3) == samplers.random_noise(3) != samplers.random_noise(4)
    assert samplers.disable_noise() != samplers.random_noise(0)
    assert samplers.sampler_lms(3) != samplers.sampler_lms(4)


def test_noise_put_in_before_is_noise_put_in_by_the_sampler(engine: Engine) -> None:
    found = []
    for before in (True, False):
        parts = Parts()
        _, low = parts.builder.SplitSigmas(sigmas=parts.levels(6), step=2)
        guider = parts.builder.CFGGuider(**parts.sides(), cfg=4.0)
        noise: Handle | Output = parts.builder.RandomNoise(noise_seed=5)
        latent: Handle | Output = parts.latent
        if before:
            latent = parts.builder.AddNoise(
                model=parts.model, noise=noise, sigmas=low, latent_image=latent
            )
            noise = parts.builder.DisableNoise()
        euler = parts.builder.KSamplerSelect(sampler_name="euler")
        parts.advanced(guider, low, sampler=euler, noise=noise, latent_image=latent)
        found.append(sampled(engine, parts))
    assert torch.allclose(found[0], found[1], atol=1e-3 * float(found[1].std()))


def test_a_negative_along_the_positive_does_not_count(engine: Engine) -> None:
    found = []
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
        parts.advanced(guider, parts.levels())
        found.append(sampled(engine, parts))
    assert torch.allclose(found[0], found[1], atol=1e-3 * float(found[1].std()))
    # Without a negative it is guidance against the empty prompt.
    assert torch.allclose(found[0], ksampler(engine), atol=1e-3 * float(found[0].std()))


def test_perp_neg_takes_the_batch_as_one() -> None:
    toward, away = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    perpendicular = perpendicular_part(away, toward)
    assert abs(float((perpendicular * toward).sum())) < 1e-3
    along = (toward * away).sum() / toward.square().sum()
    torch.testing.assert_close(perpendicular + along * toward, away)
