"""The oracle is right on true renders, so that its verdicts on samples count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from training.judging.figures import BEGIN, END, Figure, as_markdown, write_table
from training.judging.measures import measure_oracle
from training.judging.oracle import judge
from training.judging.tasks import changes, landscape_tasks, recoloured, sheet_tasks, traced_scenes
from training.world.edges import edge_f1, edges_of
from training.world.render import render
from training.world.scenes import SIZE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("figure", measure_oracle(108), ids=lambda figure: figure.name)
def test_the_oracle_scores_true_renders_at_99_percent(figure: Figure) -> None:
    assert figure.value >= 99


def test_the_oracle_sees_where_the_thing_is() -> None:
    verdict = judge(render(sheet_tasks(1)[0].scene))

    assert verdict.x == pytest.approx(0.5, abs=0.05)
    assert verdict.y == pytest.approx(0.5, abs=0.05)


def test_an_empty_image_has_a_ground_and_no_thing() -> None:
    verdict = judge(Image.new("RGB", (SIZE, SIZE), (40, 85, 210)))

    assert (verdict.ground, verdict.colour, verdict.kind) == ("blue", "", "")


def test_prompts_say_what_their_scenes_show() -> None:
    sheet, view = sheet_tasks(3)[2], landscape_tasks(14)[13]
    thing = sheet.scene.things[0]

    assert f"{thing.colour} {thing.kind}" in sheet.prompt
    assert f"{sheet.scene.ground} background" in sheet.prompt
    assert view.scene.season in view.prompt
    assert view.scene.style in view.prompt


def test_a_change_keeps_the_place_and_asks_for_another_time() -> None:
    for change in changes(10):
        before, after = change.source, change.wanted
        assert (before.season, before.hour) != (after.season, after.hour)
        assert (before.things, before.seed) == (after.things, after.seed)


def test_recolouring_changes_every_colour_and_no_place() -> None:
    for index, scene in enumerate(traced_scenes(8)):
        wanted = recoloured(scene, index)
        for old, new in zip(scene.things, wanted.things, strict=True):
            assert (old.x, old.y, old.half, old.kind) == (new.x, new.y, new.half, new.kind)


def test_the_edges_of_one_image_agree_and_those_of_two_do_not() -> None:
    one, other = (edges_of(render(task.scene)) for task in sheet_tasks(2))

    assert edge_f1(one, one) == 1
    assert edge_f1(one, np.roll(one, 2, 0)) > 0.95
    assert edge_f1(one, other) < 0.5
    assert edge_f1(one, np.zeros_like(one)) == 0


def test_figures_know_whether_they_reach_their_bar() -> None:
    assert Figure("x", 90.0, floor=90).reached
    assert not Figure("x", 89.9, floor=90).reached
    assert not Figure("x", 0.31, ceiling=0.3).reached
    assert Figure("x", 0.0).reached


def test_the_table_tells_value_and_bar() -> None:
    text = as_markdown([Figure("colour", 97.5, "%", floor=95), Figure("edges", 0.2, ceiling=0.3)])

    assert "| colour | 97.5 % | at least 95 % |" in text
    assert "| edges | 0.20 | at most 0.3 |" in text


def test_the_table_replaces_the_one_in_a_document_and_nothing_else(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text(f"# Before\n\n{BEGIN}\nold\n{END}\n\nafter\n")

    for value in (1.0, 2.0):
        write_table([Figure("x", value)], document)

    text = document.read_text()
    assert text.startswith("# Before\n\n")
    assert text.endswith("\n\nafter\n")
    assert "| x | 2.00 |" in text
    assert "1.00" not in text
    assert "old" not in text
