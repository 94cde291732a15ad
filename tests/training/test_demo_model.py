"""The shipped models: digests, sizes, and what they draw, with margins below their figures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from tests.paths import ROOT
from tests.training.reference import Reference, open_reference
from training.export import CONTROLNET, LORA, MODEL, SUMS, list_files
from training.judging.figures import distance
from training.judging.oracle import Verdict, judge
from training.judging.outlook import read_outlook
from training.judging.tasks import changes, landscape_tasks, sheet_tasks, traced_scenes
from training.world.captions import describe
from training.world.edges import edge_f1, edges_of
from training.world.render import render
from training.world.scenes import SIZE

# diffusers 0.42 hands tensors to NumPy 2 in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
MODELS = ROOT / "models"
NATIVE_SIZE = 8 * json.loads((MODELS / MODEL / "unet" / "config.json").read_text())["sample_size"]
# Images are judged against the world that the shipped weights were trained on.
of_this_world = pytest.mark.skipif(
    NATIVE_SIZE != SIZE, reason=f"the shipped weights draw {NATIVE_SIZE} px, the world {SIZE} px"
)
SHEETS = sheet_tasks(6, seed=41)
VIEWS = landscape_tasks(12, seed=42)


@pytest.fixture(scope="module")
def reference() -> Reference:
    """The models through diffusers' own pipelines, offline."""
    return open_reference(MODELS)


@pytest.fixture(scope="module")
def verdicts(reference: Reference) -> list[Verdict]:
    return [judge(image) for image in reference.generate([t.prompt for t in SHEETS])]


def size(place: str) -> int:
    result = MODELS / place
    return sum(
        path.stat().st_size for path in ([result] if result.is_file() else result.rglob("*"))
    )


def test_the_digests_match_the_files() -> None:
    listed = dict(line.split()[::-1] for line in (MODELS / SUMS).read_text().splitlines())

    result = {
        path.relative_to(MODELS).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in list_files(MODELS)
    }
    assert result == listed


@pytest.mark.parametrize(
    ("place", "most"), [(MODEL, 16_000_000), (CONTROLNET, 5_000_000), (LORA, 1_000_000)]
)
def test_the_files_are_small(place: str, most: int) -> None:
    assert 0 < size(place) <= most


def test_its_native_size_is_that_of_its_config(reference: Reference) -> None:
    pipeline = reference.pipeline

    assert pipeline.unet.config.sample_size * pipeline.vae_scale_factor == NATIVE_SIZE


def test_its_scale_is_the_one_of_stable_diffusion_1(reference: Reference) -> None:
    assert reference.pipeline.vae.config.scaling_factor == 0.18215


@of_this_world
def test_the_prompted_colours_appear(verdicts: list[Verdict]) -> None:
    colours = [v.colour == t.scene.things[0].colour for v, t in zip(verdicts, SHEETS, strict=True)]
    grounds = [v.ground == t.scene.ground for v, t in zip(verdicts, SHEETS, strict=True)]

    assert sum(colours) >= len(SHEETS) - 1
    assert sum(grounds) >= len(SHEETS) - 1


@of_this_world
def test_the_prompted_season_and_hour_appear(reference: Reference) -> None:
    images = reference.generate([task.prompt for task in VIEWS])
    wanted = [(task.scene.season, task.scene.hour) for task in VIEWS]

    right = [read_outlook(p) == w for p, w in zip(images, wanted, strict=True)]

    assert sum(right) >= len(VIEWS) - 2


@of_this_world
def test_more_denoise_goes_further_from_the_source(reference: Reference) -> None:
    asked = changes(4, seed=43)
    sources = [render(change.source) for change in asked]
    prompts = [change.prompt for change in reversed(asked)]

    near, far = (
        sum(map(distance, sources, reference.change(prompts, sources, strength)))
        for strength in (0.3, 0.7)
    )

    assert near < 0.8 * far


@of_this_world
def test_image_to_image_reaches_another_season_or_hour(reference: Reference) -> None:
    asked = changes(8, seed=45)
    sources = [render(change.source) for change in asked]

    images = reference.change([change.prompt for change in asked], sources, 0.6)

    right = [
        read_outlook(image) == (change.wanted.season, change.wanted.hour)
        for image, change in zip(images, asked, strict=True)
    ]
    assert sum(right) >= len(asked) - 1


@of_this_world
def test_inpainting_repaints_the_hole_and_keeps_the_rest(reference: Reference) -> None:
    scene = replace(SHEETS[0].scene, ground="white", style="flat")
    source = render(scene)
    gap = np.zeros((SIZE, SIZE), np.uint8)
    gap[64:192, 64:192] = 255

    got = reference.inpaint("a big blue square in the center on a white background", source, gap)

    change = np.abs(np.asarray(got).astype(int) - np.asarray(source).astype(int)).mean(2)
    outside = np.zeros_like(gap, bool)
    outside[:40] = True
    assert change[outside].mean() < 12
    assert change[gap > 0].mean() > 25


@of_this_world
def test_the_controlnet_keeps_edges(reference: Reference) -> None:
    scenes = traced_scenes(6, seed=44)
    edges = [edges_of(render(scene)) for scene in scenes]
    prompts = [describe(scene) for scene in scenes]

    traced = reference.trace(prompts, edges)

    plain = reference.generate(prompts)
    held, free = (
        float(np.mean([edge_f1(e, edges_of(p)) for e, p in zip(edges, images, strict=True)]))
        for images in (traced, plain)
    )
    assert held > 0.5
    assert held > free + 0.2


def test_a_seed_gives_the_same_image(reference: Reference) -> None:
    one, again = (reference.generate(["a red house, winter"])[0] for _ in range(2))

    assert one.tobytes() == again.tobytes()
