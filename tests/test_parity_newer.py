"""Workflows of ComfyUI 0.33 on a seeded random SD1.5: newer samplers, and patches of guidance.

The tensors that the workflows start from are those of goldens/families/parity_random.py.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import latentloom
from latentloom.diffusion.conditioning.conditioning import PromptEntry
from latentloom.diffusion.latents import latents
from latentloom.diffusion.weights.folders import MODELS_VARIABLE
from latentloom.engine.execution.executor import Engine
from latentloom.engine.formats.comfy_prompt import read_prompt
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from latentloom.nodes.ports import Conditioning, Latent
from tests.paths import ROOT

pytestmark = pytest.mark.slow
GOLDENS = ROOT / "tests" / "goldens"
CASES: list[dict[str, Any]] = json.loads((GOLDENS / "nodes" / "sd15.json").read_text())
RANDOM = runpy.run_path(str(GOLDENS / "families" / "parity_random.py"))
TOLERANCES = {"net": 1e-4, "net_loose": 1e-3}
captured: dict[str, Tensor] = {}


@node("ParityRandomCond", category="test")
def random_conditioning(
    seed: int, tokens: int, width: int, pooled: int, std: float
) -> Conditioning:
    assert pooled == 0
    values = torch.from_numpy(RANDOM["cond"](seed, tokens, width, std))
    return (PromptEntry(values),)


@node("ParityRandomLatent", category="test")
def random_latent(
    seed: int, batch: int, channels: int, frames: int, height: int, width: int, std: float
) -> Latent:
    assert frames == 0
    shape = (batch, channels, height, width)
    return latents.Latent(torch.from_numpy(RANDOM["latent"](seed, shape, std)))


@node("ParityDumpLatent", category="test", output=True)
def dump_latent(latent: Latent, name: str) -> None:
    captured[name] = latent.samples


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    models = tmp_path_factory.mktemp("models")
    script = str(GOLDENS / "model" / "make_random_sd15.py")
    make = [sys.executable, script, str(models), "--only", "sd15_mini"]
    subprocess.run(make, check=True, capture_output=True)
    registry = latentloom.registry() | Registry.of(random_conditioning, random_latent, dump_latent)
    with pytest.MonkeyPatch.context() as patch, Engine(registry) as made:
        patch.setenv(MODELS_VARIABLE, str(models))
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_workflow_gives_the_references_numbers(case: dict[str, Any], engine: Engine) -> None:
    captured.clear()
    result = engine.run(read_prompt(case["workflow"], engine.registry))
    assert result.errors == ()
    goldens = load_file(GOLDENS / "nodes" / "sd15.safetensors")
    (samples,) = captured.values()
    (key,) = case["outputs"]
    error = (samples - goldens[key]).abs().max() / goldens[key].std()
    assert float(error) <= TOLERANCES[case["tolerance"]]
