"""Scenes, captions and renders: one seed, one image, and words that fit it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.world.captions import caption, describe
from training.world.colours import COLOURS, HOURS, SEASONS, contrast
from training.world.edges import edge_f1, edges_of
from training.world.render import render, to_array
from training.world.scenes import (
    HELD_OUT_SEEDS,
    INPUT_SEEDS,
    KINDS,
    STYLES,
    TRAINING_SEEDS,
    Landscape,
    Sheet,
    Thing,
    sample_scene,
)
from training.world.textures import dead_leaves

SEEDS = range(60)
SCENES = [sample_scene(seed) for seed in SEEDS]
SHEETS = [scene for scene in SCENES if isinstance(scene, Sheet)]
LANDSCAPES = [scene for scene in SCENES if isinstance(scene, Landscape)]
ORANGE_HOUSE = Sheet((Thing("orange", "house"),), "blue", seed=4)


@pytest.mark.parametrize("seed", [0, 5, 22])
def test_a_seed_gives_the_same_image_every_time(seed: int) -> None:
    first, second = (render(sample_scene(seed)) for _ in range(2))

    assert first.tobytes() == second.tobytes()


def test_seeds_give_different_images() -> None:
    assert len({render(scene).tobytes() for scene in SCENES}) == len(SEEDS)


def test_a_texture_is_the_same_every_time() -> None:
    assert dead_leaves(3).tobytes() == dead_leaves(3).tobytes()


def test_images_are_rgb_of_the_asked_size() -> None:
    assert to_array(render(sample_scene(1), size=64)).shape == (64, 64, 3)


def test_both_kinds_of_scenes_are_drawn() -> None:
    assert 0.4 < len(LANDSCAPES) / len(SCENES) < 0.8


def test_a_thing_whose_place_is_not_said_stands_anywhere_about_the_middle() -> None:
    sheets = [scene for seed in range(400) if isinstance(scene := sample_scene(seed), Sheet)]
    roaming = [scene for scene in sheets if scene.things[0].place == ""]
    centered = [scene.things[0] for scene in sheets if scene.things[0].place == "center"]

    assert len(roaming) > 15
    assert max(abs(scene.things[0].x - 0.5) for scene in roaming) > 0.1
    assert max(abs(thing.x - 0.5) for thing in centered) <= 0.03
    said = [text for scene in roaming for text in (caption(scene, 0), describe(scene))]
    assert not [text for text in said if "center" in text or "middle" in text or "left" in text]


def test_things_on_sheets_stand_out_from_their_ground() -> None:
    pairs = [(thing.colour, scene.ground) for scene in SHEETS for thing in scene.things]

    assert all(contrast(thing, ground) for thing, ground in pairs)


def test_things_lie_inside_the_image() -> None:
    things = [thing for scene in SCENES for thing in scene.things]

    assert all(t.x - t.half >= -0.02 and t.x + t.half <= 1.02 for t in things)
    assert all(t.y - t.half >= -0.02 and t.y + t.half <= 1.02 for t in things)


def test_everything_is_drawn_from_the_first_seeds() -> None:
    scenes = [sample_scene(seed) for seed in range(300)]
    things = [thing for scene in scenes for thing in scene.things]
    views = [scene for scene in scenes if isinstance(scene, Landscape)]

    assert {t.kind for t in things} == set(KINDS)
    assert {t.colour for t in things} == {*COLOURS, ""}
    assert {v.season for v in views} == set(SEASONS)
    assert {v.hour for v in views} == set(HOURS)
    assert {scene.style for scene in scenes} == set(STYLES)


@pytest.mark.parametrize(("season", "hour"), [("winter", "day"), ("summer", "sunset")])
def test_another_season_or_hour_moves_nothing(season: str, hour: str) -> None:
    scores = []
    for scene in LANDSCAPES:
        now = replace(scene, season="summer", hour="day", style="flat")
        scores.append(
            edge_f1(edges_of(render(now)), edges_of(render(replace(now, season=season, hour=hour))))
        )

    assert float(np.mean(scores)) > 0.75


def test_seasons_hours_and_styles_look_different() -> None:
    scene = LANDSCAPES[0]
    looks = {
        render(replace(scene, season=season, hour=hour, style=style)).tobytes()
        for season in SEASONS for hour in HOURS for style in STYLES
    }  # fmt: skip

    assert len(looks) == len(SEASONS) * len(HOURS) * len(STYLES)


def test_most_captions_name_every_thing() -> None:
    named = [
        all(thing.kind in caption(scene, variant) for thing in scene.things)
        for scene in SCENES
        for variant in range(4)
    ]

    assert float(np.mean(named)) > 0.9


def test_a_description_names_all_that_there_is() -> None:
    for scene in LANDSCAPES:
        words = describe(scene)
        assert scene.season in words
        assert scene.hour in words
        assert all(f"{thing.colour} {thing.kind}".strip() in words for thing in scene.things)


def test_captions_vary_in_words_and_completeness() -> None:
    assert len({caption(LANDSCAPES[1], variant) for variant in range(8)}) > 4
    assert len({caption(SHEETS[1], variant) for variant in range(8)}) > 4


def test_a_caption_of_one_variant_never_changes() -> None:
    assert caption(sample_scene(9), 2) == caption(sample_scene(9), 2)


def test_no_caption_is_empty() -> None:
    assert all(caption(scene, variant) for scene in SCENES for variant in range(8))


def test_orange_takes_its_article() -> None:
    captions = [caption(ORANGE_HOUSE, variant) for variant in range(16)]

    assert any("an orange house" in text for text in captions)
    assert not any("a orange" in text for text in captions)


def test_training_judging_and_inputs_draw_from_different_seeds() -> None:
    ranges = (TRAINING_SEEDS, HELD_OUT_SEEDS, INPUT_SEEDS)

    assert [r.stop for r in ranges[:2]] == [r.start for r in ranges[1:]]
