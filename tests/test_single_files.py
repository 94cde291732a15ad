"""Every example runs on random checkpoints in one file, of SD1.5's family and of SDXL's.

The checkpoints are the seeded ones of goldens/model, with fewer blocks than the real ones, so that
what is read from their keys is the shape of a network too. Small pictures, one step.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import latentloom
from diffusion.folders import VARIABLE
from latentloom import Engine, Graph

pytestmark = pytest.mark.slow
GRAPHS = sorted((Path(__file__).parent.parent / "graphs").glob("*.yaml"))
SCRIPT = Path(__file__).parent / "goldens" / "model" / "make_random_sd15.py"
FILES: dict[str, str] = runpy.run_path(str(SCRIPT))["FILES"]
SIDE = 128
# Which models take the demo's place; there is no ControlNet and no LoRA of SDXL's.
SD15 = {
    "ckpt_name": "random_sd15_mini.safetensors",
    "control_net_name": "random_sd15_mini_controlnet.safetensors",
    "lora_name": "random_sd15_mini_lora_r8.safetensors",
}
SDXL = {"ckpt_name": "random_sdxl_mini.safetensors"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch, Engine(latentloom.registry()) as found:
        patch.setenv(VARIABLE, str(folder))
        yield found


def make(models: dict[str, str], folder: Path) -> None:
    """Write those that are not there yet."""
    known = {Path(file).name: name for name, file in FILES.items()}
    wanted = [known[file] for file in models.values() if not any(folder.rglob(file))]
    if wanted:
        command = [sys.executable, str(SCRIPT), str(folder), "--only", ",".join(wanted)]
        subprocess.run(command, check=True, capture_output=True)


def on(graph: Graph, models: dict[str, str]) -> Graph:
    """The graph on other models, with one step in each sampler and small pictures."""
    for id, node in graph.nodes.items():
        spec = latentloom.registry()[node.type]
        values: dict[str, object] = {**models, "steps": 1}
        if node.type == "EmptyLatentImage":
            values |= {"width": SIDE, "height": SIDE}
        for name, value in values.items():
            if spec.port(name) is not None:
                graph = graph.set(f"{id}.{name}", value)
    return graph


def fits_sdxl(path: Path) -> bool:
    """Whether a graph has no part that only SD1.5's family has a random model for."""
    types = {node.type for node in latentloom.load(path).nodes.values()}
    return not types & {"ControlNetLoader", "LoraLoader", "LoraLoaderModelOnly"}


CASES = {f"{path.stem}-sd15": (path, SD15) for path in GRAPHS}
CASES |= {f"{path.stem}-sdxl": (path, SDXL) for path in GRAPHS if fits_sdxl(path)}


@pytest.mark.parametrize(("path", "models"), CASES.values(), ids=CASES)
def test_an_example_runs_on_a_checkpoint_in_one_file(
    path: Path, models: dict[str, str], engine: Engine, folder: Path, tmp_path: Path
) -> None:
    make(models, folder)
    graph = on(latentloom.load(path), models)
    result = engine.run(graph, latentloom.workspace(graph, output_dir=tmp_path))
    assert result.errors == ()
    assert result.model_calls > 0
    assert all(file.stat().st_size > 1000 for _, file in result.saved if file.suffix == ".png")


def test_a_controlnet_of_another_family_is_refused_with_both_named(
    engine: Engine, folder: Path
) -> None:
    models = {**SD15, **SDXL}
    make(models, folder)
    graph = on(latentloom.load("controlnet_img2img"), models)
    (problem,) = engine.check(graph)
    assert problem.kind == "wrong_family"
    assert ("sdxl" in problem.wanted, "sd15" in problem.got) == (True, True)
