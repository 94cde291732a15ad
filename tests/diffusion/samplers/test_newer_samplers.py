"""Samplers and options of ComfyUI 0.33 against its numbers; names are `kind/sampler[options]`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from latentloom.diffusion.compatibility import VARIABLE
from latentloom.diffusion.samplers.table import SAMPLER_TABLE, SamplerChoice
from latentloom.diffusion.sampling.noise import start_noise, step_noise
from latentloom.nodes import solvers
from tests.closeness import largest_error
from tests.diffusion.samplers import test_samplers as toys
from tests.diffusion.samplers.test_samplers import FOLDER, SAMPLINGS, SHAPE, Toy, sigmas_for

GOLDENS = load_file(FOLDER / "newer_samplers.safetensors")
CALLS: dict[str, Any] = json.loads((FOLDER / "newer_samplers.json").read_text())
NODES: dict[str, Callable[..., SamplerChoice]] = {
    "seeds_2": solvers.sampler_seeds_2,
    "lcm": solvers.sampler_lcm,
    "er_sde": solvers.sampler_er_sde,
    "exp_heun_2_x0": lambda **values: SamplerChoice("", (("solver", values["solver_type"]),)),
    "exp_heun_2_x0_sde": lambda **values: SamplerChoice(
        "", (("solver", values["solver_type"]), ("eta", values["eta"])), values["s_noise"]
    ),
}
KEY = re.compile(r"(\w+)/(\w+)(?:\[(.*)\])?/(\w+)/(\d+)(/cut)?")


def choose(name: str, text: str | None) -> SamplerChoice:
    """Return the sampler that its node makes of options such as `eta=0.5,r=1.0`."""
    options: dict[str, Any] = {}
    for part in text.split(",") if text else ():
        option, _, value = part.partition("=")
        options[option] = float(value) if value.replace(".", "").isdecimal() else value
    options |= {"max_stage": int(options["max_stage"])} if "max_stage" in options else {}
    return NODES[name](**options) if text else SamplerChoice(name)


@pytest.mark.parametrize("key", GOLDENS)
def test_a_sampler_gives_the_references_numbers(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    match = KEY.fullmatch(key)
    assert match is not None
    kind, name, text, scheduler, steps, cut = match.groups()
    choice, sampling, toy = choose(name, text), SAMPLINGS[kind], Toy(name)
    sigmas = sigmas_for(name, scheduler, int(steps), sampling)
    sigmas = sigmas[:-1] if cut else sigmas
    start = start_noise(SHAPE, 42)
    x = sampling.add_noise(torch.zeros(SHAPE), start, sigmas[0], sampling.is_max_denoise(sigmas[0]))

    def noise_for(name: str, x: torch.Tensor, _sigmas: torch.Tensor, seed: int) -> Any:
        drawn = step_noise(x, seed, "current")
        scale = choice.noise_scale
        return lambda sigma, sigma_next: drawn(sigma, sigma_next) * scale

    monkeypatch.setattr(toys, "noise_for", noise_for)
    options: dict[str, Any] = dict(choice.options)
    got = toys.sample(name, sigmas, toy, x, sampling=sampling, **options)
    got = sampling.undo_noise_scaling(got, sigmas[-1])[:1]
    assert toy.calls == CALLS[key]["nfe"]
    assert largest_error(got, GOLDENS[key]) <= 5e-5


def test_er_sde_ignores_eta_with_the_older_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dict(solvers.sampler_er_sde("ER-SDE", 3, 0.5).options)["eta"] == 0.5
    monkeypatch.setenv(VARIABLE, "0.3.64")
    assert dict(solvers.sampler_er_sde("ER-SDE", 3, 0.5).options)["eta"] == 1.0
    assert dict(solvers.sampler_er_sde("Reverse-time SDE", 3, 0.5).options)["eta"] == 0.5


def test_the_newer_samplers_are_listed_where_comfyui_lists_them() -> None:
    names = list(SAMPLER_TABLE)
    index = names.index("heunpp2")
    assert names[index + 1 : index + 3] == ["exp_heun_2_x0", "exp_heun_2_x0_sde"]
