"""What the ControlNet learns from: the edges of the pool's scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.presets import TINY
from training.stages.controlnet import load_edges
from training.world.crew import Crew
from training.world.edges import edges_of
from training.world.render import render
from training.world.scenes import SIZE, sample_scene

if TYPE_CHECKING:
    from pathlib import Path


def test_edges_belong_to_the_scenes_of_the_pool(tmp_path: Path) -> None:
    edges = np.unpackbits(load_edges(TINY, tmp_path, Crew(), TINY.scenes), axis=2).astype(bool)

    assert edges.shape == (TINY.scenes, SIZE, SIZE)
    for index in (1, 2, 3):
        assert np.array_equal(edges[index], edges_of(render(sample_scene(index))))


def test_one_image_in_four_has_the_edges_of_the_usual_thresholds(tmp_path: Path) -> None:
    edges = np.unpackbits(load_edges(TINY, tmp_path, Crew(), TINY.scenes), axis=2).astype(bool)

    few = edges[4]
    assert few.sum() < edges_of(render(sample_scene(4))).sum()
