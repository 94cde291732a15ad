"""Objects of a caption are found in true renders, and missed where they are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from training.judging.crowd import all_present, crowd_tasks, is_present
from training.world.render import render
from training.world.scenes import Landscape

TASKS = crowd_tasks(8)
TWO = next(task.scene for task in TASKS if len(task.scene.things) == 2)


@pytest.mark.parametrize("scene", [task.scene for task in TASKS])
def test_every_object_of_a_true_render_is_found(scene: Landscape) -> None:
    assert all_present(render(scene), scene)


def test_prompts_name_two_to_four_objects() -> None:
    for task in TASKS:
        named = sum(task.prompt.count(t.kind) > 0 for t in task.scene.things)
        assert named == len(task.scene.things)
        assert 2 <= len(task.scene.things) + (task.scene.light is not None) <= 4


def test_a_missing_thing_is_missed() -> None:
    without = render(replace(TWO, things=TWO.things[1:]))

    assert not is_present(without, TWO.things[0], TWO)
    assert not all_present(without, TWO)


def test_a_thing_on_the_wrong_side_is_missed() -> None:
    first, second = TWO.things
    swapped = (replace(first, place=second.place), replace(second, place=first.place))

    assert not all_present(render(TWO), replace(TWO, things=swapped))


def test_a_thing_of_another_colour_is_missed() -> None:
    scene = next(t.scene for t in TASKS if t.scene.things[0].colour in ("red", "purple"))
    thing = scene.things[0]
    blue = replace(scene, things=(replace(thing, colour="blue"), *scene.things[1:]))

    assert not is_present(render(blue), thing, scene)


def test_a_missing_sun_is_missed() -> None:
    scene = next(task.scene for task in TASKS if task.scene.light)

    assert not all_present(render(replace(scene, light=None)), scene)
