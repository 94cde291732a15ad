"""Scenes, captions and renders: one seed, one picture, and words that fit it."""

from __future__ import annotations

import pytest

from training.captions import caption
from training.render import render, to_array
from training.scenes import (
    COLOURS,
    HELD_OUT_SEEDS,
    INPUT_SEEDS,
    SHAPES,
    TRAINING_SEEDS,
    Scene,
    Thing,
    contrast,
    sample_scene,
)
from training.textures import dead_leaves

SEEDS = range(60)
ORANGE_HOUSE = Scene((Thing("orange", "house"),), "blue", seed=4)


@pytest.mark.parametrize("seed", [0, 5, 22])
def test_a_seed_gives_the_same_picture_every_time(seed: int) -> None:
    first, second = (render(sample_scene(seed)) for _ in range(2))

    assert first.tobytes() == second.tobytes()


def test_seeds_give_different_pictures() -> None:
    assert len({render(sample_scene(seed)).tobytes() for seed in SEEDS}) == len(SEEDS)


def test_a_texture_is_the_same_every_time() -> None:
    assert dead_leaves(3).tobytes() == dead_leaves(3).tobytes()


def test_pictures_are_rgb_of_the_asked_size() -> None:
    assert to_array(render(sample_scene(1), size=64)).shape == (64, 64, 3)


def test_things_stand_out_from_their_ground() -> None:
    pairs = [(thing.colour, s.colour) for s in map(sample_scene, SEEDS) for thing in s.things]

    assert all(contrast(thing, ground) for thing, ground in pairs)


def test_sampled_things_lie_inside_the_picture() -> None:
    things = [thing for seed in SEEDS for thing in sample_scene(seed).things]

    assert all(t.x - t.half >= 0 and t.x + t.half <= 1 for t in things)


def test_every_shape_and_colour_is_drawn_from_the_first_seeds() -> None:
    things = [thing for seed in range(200) for thing in sample_scene(seed).things]

    assert {t.shape for t in things} == set(SHAPES)
    assert {t.colour for t in things} == set(COLOURS)


def test_captions_name_the_shape_of_every_thing() -> None:
    scenes = [sample_scene(seed) for seed in SEEDS]

    assert all(t.shape in caption(s, 0).split() or f"{t.shape}," in caption(s, 0).split()
               for s in scenes for t in s.things)  # fmt: skip


def test_captions_vary_in_words_and_completeness() -> None:
    scene = sample_scene(8)

    assert len({caption(scene, variant) for variant in range(8)}) > 4


def test_a_caption_of_one_variant_never_changes() -> None:
    assert caption(sample_scene(9), 2) == caption(sample_scene(9), 2)


def test_orange_takes_its_article() -> None:
    captions = [caption(ORANGE_HOUSE, variant) for variant in range(16)]

    assert any("an orange house" in text for text in captions)
    assert not any("a orange" in text for text in captions)


def test_training_judging_and_inputs_draw_from_different_seeds() -> None:
    ranges = (TRAINING_SEEDS, HELD_OUT_SEEDS, INPUT_SEEDS)

    assert [r.stop for r in ranges[:2]] == [r.start for r in ranges[1:]]
