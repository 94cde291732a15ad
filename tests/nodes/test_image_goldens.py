"""Image, mask and latent nodes compared with ComfyUI 0.33, as prompts that run.

Goldens hold every n-th value of a tensor, some 300 of them, and its shape.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import latentloom
from latentloom.diffusion.latents import latents
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats.comfy_prompt import read_prompt
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from latentloom.nodes.ports import Image, Latent, Mask
from tests.paths import ROOT

GOLDENS = ROOT / "tests" / "goldens"
CASES: list[dict[str, Any]] = json.loads((GOLDENS / "nodes" / "image_nodes.json").read_text())
VALUES = load_file(GOLDENS / "nodes" / "image_nodes.safetensors")
RANDOM = runpy.run_path(str(GOLDENS / "families" / "parity_random.py"))
SAMPLED = 300
# Processors round filters differently; Lab has fewer digits in the reference.
TOLERANCES = {"exact": 0.0, "image_op": 1e-6, "image_stat": 3e-5}
captured: dict[str, Tensor] = {}


@node("ParityRandomLatent", category="test")
def random_latent(
    seed: int, batch: int, channels: int, frames: int, height: int, width: int, std: float
) -> Latent:
    assert frames == 0
    shape = (batch, channels, height, width)
    return latents.Latent(torch.from_numpy(RANDOM["latent"](seed, shape, std)))


@node("ParityDumpImage", category="test", output=True)
def dump_image(image: Image, name: str) -> None:
    captured["image"] = image


@node("ParityDumpImageList", category="test", output=True)
def dump_images(image: list[Image], name: str) -> None:
    captured.update({str(index): item for index, item in enumerate(image)})


@node("ParityDumpMask", category="test", output=True)
def dump_mask(mask: Mask, name: str) -> None:
    captured["mask"] = mask


@node("ParityDumpLatent", category="test", output=True)
def dump_latent(latent: Latent, name: str) -> None:
    captured["samples"] = latent.samples
    if latent.batch_index is not None:
        captured["batch_index"] = torch.tensor(latent.batch_index)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    RANDOM["write_inputs"](str(folder))
    return folder


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    dumps = Registry.of(random_latent, dump_image, dump_images, dump_mask, dump_latent)
    with Engine(latentloom.registry() | dumps, workers=1) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_node_gives_the_reference_numbers(
    case: dict[str, Any], engine: Engine, inputs: Path
) -> None:
    captured.clear()
    engine.cache.clear()
    graph = read_prompt(case["workflow"], engine.registry)
    assert engine.run(graph, Workspace(input_dir=inputs)).errors == ()
    for key, shape in case["outputs"].items():
        got = captured[key.rpartition("/")[2]]
        assert list(got.shape) == shape
        flat = got.flatten()
        sampled = flat[:: max(1, len(flat) // SAMPLED)]
        error = (sampled.double() - VALUES[key].double()).abs().max()
        assert float(error) <= TOLERANCES[case["tolerance"]]
