"""The shipped model: its digests, its size, and what it draws through diffusers alone."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.training.reference import change, generate, load_pipeline
from training.evaluate import distance
from training.export import SUMS, list_files
from training.oracle import Verdict, judge, make_tasks
from training.render import render

# diffusers 0.42 hands tensors to NumPy 2 in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
MODEL = Path(__file__).parents[2] / "models" / "demo"
TASKS = make_tasks(4, seed=41)


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return load_pipeline(MODEL)


@pytest.fixture(scope="module")
def verdicts(pipeline: Any) -> list[Verdict]:
    return [judge(picture) for picture in generate(pipeline, [task.prompt for task in TASKS])]


def test_the_digests_match_the_files() -> None:
    listed = dict(line.split()[::-1] for line in (MODEL / SUMS).read_text().splitlines())

    found = {
        path.relative_to(MODEL).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in list_files(MODEL)
    }
    assert found == listed


def test_the_model_is_at_most_16_megabytes() -> None:
    assert sum(path.stat().st_size for path in MODEL.rglob("*")) <= 16_000_000


def test_its_native_size_is_128(pipeline: Any) -> None:
    assert pipeline.unet.config.sample_size * pipeline.vae_scale_factor == 128


def test_its_scale_is_the_one_of_stable_diffusion_1(pipeline: Any) -> None:
    assert pipeline.vae.config.scaling_factor == 0.18215


@pytest.mark.parametrize("index", range(len(TASKS)))
def test_the_prompted_colours_appear(verdicts: list[Verdict], index: int) -> None:
    scene = TASKS[index].scene

    assert verdicts[index].colour == scene.things[0].colour
    assert verdicts[index].ground == scene.colour


def test_more_denoise_goes_further_from_the_source(pipeline: Any) -> None:
    sources = [render(task.scene) for task in TASKS]
    prompts = [task.prompt for task in reversed(TASKS)]

    near, far = (
        sum(map(distance, sources, change(pipeline, prompts, sources, strength)))
        for strength in (0.3, 0.7)
    )

    assert near < far
