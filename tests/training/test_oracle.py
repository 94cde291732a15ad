"""The oracle is right on true renders, so that its verdicts on samples count."""

from __future__ import annotations

import pytest
from PIL import Image

from training.evaluate import Figure, measure_oracle
from training.oracle import judge, make_tasks
from training.render import render


@pytest.mark.parametrize("figure", measure_oracle(200), ids=lambda figure: figure.name)
def test_the_oracle_scores_true_renders_at_99_percent(figure: Figure) -> None:
    assert figure.value >= 99


def test_the_oracle_sees_where_the_thing_is() -> None:
    verdict = judge(render(make_tasks(1)[0].scene))

    assert verdict.x == pytest.approx(0.5, abs=0.05)
    assert verdict.y == pytest.approx(0.5, abs=0.05)


def test_an_empty_picture_has_a_ground_and_no_thing() -> None:
    verdict = judge(Image.new("RGB", (128, 128), (40, 85, 210)))

    assert (verdict.ground, verdict.colour, verdict.shape) == ("blue", "", "")


def test_prompts_say_what_their_scenes_show() -> None:
    task = make_tasks(3)[2]
    thing = task.scene.things[0]

    assert f"{thing.colour} {thing.shape}" in task.prompt
    assert f"{task.scene.colour} background" in task.prompt


def test_figures_know_whether_they_reach_their_bar() -> None:
    assert Figure("x", 90.0, 90).reached
    assert not Figure("x", 89.9, 90).reached
    assert Figure("x", 0.0).reached
