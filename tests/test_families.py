"""Workflows of today's families on small random weights give ComfyUI's numbers.

The weights are made anew by goldens/families/make_weights.py; tolerances are shares of a golden's
standard deviation.
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
from latentloom.diffusion.samplers.table import SAMPLER_NAMES
from latentloom.diffusion.weights.folders import MODELS_VARIABLE
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.node.registry import Registry
from tests.parity_nodes import DUMPS, FAMILIES, SOURCES, captured

TOLERANCES = {"net": 1e-4, "net_loose": 1e-3, "vae": 5e-5, "vae_net": 1e-4}
# Weights that take seconds to write.
LARGE = {"fam_vae_flux.safetensors"}
# One case of what the others vary runs always.
FAST = {
    "flux_fwd_hi", "flux_guidance_off", "flux_ks_cfg", "flux_ks_odd", "flux_ks_mask",
    "flux_empty_sd15", "flux_ref2_offset", "flux_ref2_uxo_uno", "flux_ref_cfg", "flux_nopooled",
    "flux_ks_denoise06", "flux_lora_kohya_80", "flux_lora_diffusers_80", "schnell_ks_cfg1",
    "fill_noconcat", "canny_noconcat", "qwen_vae_dec", "qwen_vae_enc_odd",
}  # fmt: skip


# Differences that are explained.
LOOSER = {
    # The reference integrates its polynomials numerically, to a relative error of 1e-4.
    "flux_s_lms": 2e-4,
}


def cases() -> Iterator[Any]:
    for index in sorted((FAMILIES / "cases").glob("*.json")):
        for case in json.loads(index.read_text()):
            marks = [] if case["name"] in FAST else [pytest.mark.slow]
            types = {node["class_type"] for node in case["workflow"].values()}
            lacks = types - {*latentloom.registry(), *DUMPS, *SOURCES}
            if lacks:
                marks.append(pytest.mark.skip(f"no node {sorted(lacks)}"))
            samplers = {node["inputs"].get("sampler_name") for node in case["workflow"].values()}
            if not samplers <= {None, *SAMPLER_NAMES}:
                marks.append(pytest.mark.skip(f"no sampler {samplers}"))
            yield pytest.param(case, id=case["name"], marks=marks)


@dataclass(frozen=True)
class Lab:
    """An engine with the nodes of the goldens, and where its models lie."""

    engine: Engine
    workspace: Workspace
    registry: Registry
    models: Path

    def make(self, names: Iterable[str]) -> None:
        """Write the random models that are not there yet."""
        script = str(FAMILIES / "make_weights.py")
        files = {Path(row[0]).name: name for name, row in BUILD.items()}
        missing = [files[name] for name in names if not any(self.models.rglob(name))]
        if missing:
            make = [sys.executable, script, str(self.models), "--only", ",".join(missing)]
            subprocess.run(make, check=True, capture_output=True)


def _read_builders() -> dict[str, tuple[str, str, object]]:
    sys.path.insert(0, str(FAMILIES))
    try:
        builders: dict[str, tuple[str, str, object]] = runpy.run_path(
            str(FAMILIES / "make_weights.py")
        )["BUILD"]
    finally:
        sys.path.remove(str(FAMILIES))
    return builders


BUILD = _read_builders()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    models, inputs = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("inputs")
    make = [sys.executable, str(FAMILIES / "parity_random.py"), str(inputs)]
    subprocess.run(make, check=True, capture_output=True)
    registry = latentloom.registry() | DUMPS | SOURCES
    workspace = Workspace(input_dir=inputs, output_dir=tmp_path_factory.mktemp("out"))
    with pytest.MonkeyPatch.context() as patch, Engine(registry) as engine:
        patch.setenv(MODELS_VARIABLE, str(models))
        yield Lab(engine, workspace, registry, models)


@pytest.mark.parametrize("case", list(cases()))
def test_a_workflow_gives_the_references_numbers(
    case: dict[str, Any], lab: Lab, tmp_path: Path
) -> None:
    from latentloom.engine.formats import load_graph

    lab.make(case["models"])
    (tmp_path / "workflow.json").write_text(json.dumps(case["workflow"]))
    graph = load_graph(tmp_path / "workflow.json", lab.registry)
    result = lab.engine.run(graph, lab.workspace)
    assert result.errors == ()
    goldens = load_file(FAMILIES / "goldens" / f"{case['group']}.safetensors")
    for key in case["outputs"]:
        *path, field = key.split("/")
        got, want = captured[path[-1]][field].float(), goldens[key].float()
        assert got.shape == want.shape
        assert bool(torch.isfinite(got).all())
        difference = float((got - want).abs().max()) / max(float(want.std()), 1e-6)
        tolerance = LOOSER.get(case["name"], TOLERANCES[case["tolerance"]])
        assert difference <= tolerance, f"{key}: {difference:.2e}"
