"""Workflows of ComfyUI on a seeded random checkpoint give ComfyUI's numbers.

The checkpoint is SD1.5's family with two levels, made anew by `make_random_sd15.py`; what the
reference gave lies in goldens/model. Tolerances are shares of a golden's standard deviation.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import latentloom
from latentloom.diffusion.compatibility import VARIABLE as RULE
from latentloom.diffusion.weights.folders import MODELS_VARIABLE
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.node.registry import Registry
from tests.parity_nodes import DUMPS, captured
from tests.paths import ROOT

pytestmark = pytest.mark.slow
FOLDER = ROOT / "tests" / "goldens" / "model"
CASES: list[dict[str, Any]] = [
    case
    for index in sorted(FOLDER.glob("index*.json"))
    for case in json.loads(index.read_text())["cases"]
]
# What `make_random_sd15.py` calls the file of each model.
MODELS = {
    Path(file).name: name
    for name, file in runpy.run_path(str(FOLDER / "make_random_sd15.py"))["FILES"].items()
}
# Latent operations work on what a VAE encoded, so they inherit its tolerance.
TOLERANCES = {"clip": 1e-5, "vae": 5e-5, "op": 5e-5, "image_op": 1e-6, "exact": 1e-6, "sigma": 1e-6}


@dataclass(frozen=True)
class Bench:
    """An engine with the capturing nodes, and where its files lie."""

    engine: Engine
    workspace: Workspace
    registry: Registry
    models: Path

    def make(self, names: Iterable[str]) -> None:
        """Write the random models that are not there yet."""
        expected = [MODELS[name] for name in names if not any(self.models.rglob(name))]
        if expected:
            script = str(FOLDER / "make_random_sd15.py")
            make = [sys.executable, script, str(self.models), "--only", ",".join(expected)]
            subprocess.run(make, check=True, capture_output=True)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    models = tmp_path_factory.mktemp("models")
    registry = latentloom.registry() | DUMPS
    path = Workspace(input_dir=FOLDER / "inputs", output_dir=tmp_path_factory.mktemp("out"))
    with pytest.MonkeyPatch.context() as patch, Engine(registry) as engine:
        patch.setenv(MODELS_VARIABLE, str(models))
        patch.setenv(RULE, "0.3.64")
        yield Bench(engine, path, registry, models)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_workflow_gives_the_references_numbers(case: dict[str, Any], bench: Bench) -> None:
    from latentloom.engine.formats import load_graph

    prompts = (FOLDER / case["workflow"]).read_text()
    embeddings = [name for name in MODELS if f"embedding:{Path(name).stem}" in prompts]
    bench.make([*case["models"], *embeddings])
    graph = load_graph(FOLDER / case["workflow"], bench.registry)
    result = bench.engine.run(graph, bench.workspace)
    assert result.errors == ()
    tolerance = TOLERANCES.get(case["tolerance"], 1e-4)
    tolerance = 1e-2 if "dpm_adaptive" in case["name"] else tolerance
    for file, outputs in case["outputs"].items():
        goldens = load_file(FOLDER / file)
        got = captured[Path(file).stem]
        for key in outputs:
            want = goldens[key].float()
            assert got[key].shape == want.shape
            spread = max(float(want.std()), 1e-6)
            difference = float((got[key].float() - want).abs().max()) / spread
            assert difference <= tolerance, f"{key}: {difference:.2e}"
    assert bool(torch.isfinite(want).all())
