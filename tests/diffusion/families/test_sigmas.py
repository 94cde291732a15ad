"""Sigmas of Flux.1 and of the nodes that set flow sampling, against ComfyUI's numbers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import make_dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from latentloom.diffusion.families.family import Family
from latentloom.diffusion.families.flux import FLUX, SCHNELL
from latentloom.diffusion.networks.load import make_sampling
from latentloom.diffusion.schedules.model_sampling import ModelSampling
from latentloom.diffusion.schedules.schedules import calculate_sigmas
from latentloom.nodes.model_sampling import (
    model_sampling_aura_flow,
    model_sampling_flux,
    model_sampling_sd3,
)
from tests.paths import ROOT

GOLDENS: dict[str, dict[str, Any]] = json.loads(
    (ROOT / "tests" / "goldens" / "families" / "sigmas.json").read_text("utf-8")
)
NODES: dict[str, Any] = {
    "ModelSamplingFlux": model_sampling_flux,
    "ModelSamplingSD3": model_sampling_sd3,
    "ModelSamplingAuraFlow": model_sampling_aura_flow,
}


def sampling_of(name: str) -> ModelSampling:
    """Return the sampling of a family, or what a node with these inputs sets."""
    if name.startswith("flux"):
        return make_sampling(family_of(name))
    node, inputs = name.rstrip(")").split("(")
    numbers = [float(number) for number in inputs.split(",")]
    sizes = [int(number) for number in numbers[2:]]
    return recorded(NODES[node], *numbers[:2], *sizes)


def family_of(name: str) -> Family:
    return FLUX if name == "flux" else replace(FLUX, flow=SCHNELL)


def recorded(node: Any, *inputs: float) -> ModelSampling:
    """Return the sampling that a node gives a model."""
    kind = make_dataclass("kind", [("sampling", object)])
    result: ModelSampling = node(kind(None), *inputs).sampling
    return result


@pytest.mark.parametrize("name", GOLDENS["sampling"])
def test_the_table_and_its_ends_are_the_references(name: str) -> None:
    sampling, want = sampling_of(name), SimpleNamespace(**GOLDENS["sampling"][name])
    table = sampling.sigmas
    assert len(table) == want.table
    assert table[:3].tolist() == pytest.approx(want.table_first, rel=1e-6)
    assert table[-3:].tolist() == pytest.approx(want.table_last, rel=1e-6)
    for sigma, timestep in want.timestep_of_sigma.items():
        got = float(sampling.timestep(torch.tensor(float(sigma))))
        assert got == pytest.approx(timestep, rel=1e-6)
    for percent, sigma in want.sigma_of_percent.items():
        assert sampling.percent_to_sigma(float(percent)) == pytest.approx(sigma, rel=1e-6)


# The reference divides by zero for one step of linear_quadratic.
KEYS = [key for key, sigmas in GOLDENS["ksampler"].items() if all(map(math.isfinite, sigmas))]


@pytest.mark.parametrize("key", KEYS)
def test_the_sigmas_of_a_sampler_are_the_references(key: str) -> None:
    match = re.fullmatch(r"(.*)/(\w+)/(\d+)/([\d.]+)", key)
    assert match is not None
    name, schedule, steps, denoise = match.groups()
    got = calculate_sigmas(sampling_of(name), schedule, int(steps), float(denoise))
    assert got.tolist() == pytest.approx(GOLDENS["ksampler"][key], rel=1e-6, abs=1e-7)
