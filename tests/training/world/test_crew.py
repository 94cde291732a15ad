"""Tables come out the same from one process and from many."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.world.crew import ROWS, Crew, Table
from training.world.tables import scenes_table, textures_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = 2 * ROWS + 5


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew(2)
    yield crew
    crew.close()


def test_many_processes_give_the_rows_of_one(tmp_path: Path, crew: Crew) -> None:
    alone = Crew().load(textures_table(tmp_path / "one", COUNT))
    table = textures_table(tmp_path / "many", COUNT)

    together = crew.load(table)

    assert np.array_equal(together, alone)
    assert crew.pool is not None
    assert table.path.exists()
    assert not table.partial.exists()


def test_a_table_is_filled_once(tmp_path: Path) -> None:
    table = scenes_table(tmp_path, 4)
    first = np.array(Crew().load(table))

    again = Crew().load(Table(table.path, refuse, 4, table.shape), needed=2)

    assert np.array_equal(again, first[:2])


def test_a_table_that_is_started_in_two_parts_is_whole(tmp_path: Path, crew: Crew) -> None:
    table = textures_table(tmp_path, COUNT)
    crew.start(table, ROWS)
    started = len(crew.tasks[table.path])

    rows = crew.load(table)

    assert started == 1
    assert np.array_equal(rows, Crew().load(textures_table(tmp_path / "one", COUNT)))


def test_from_a_time_on_the_rows_that_are_there_must_do(tmp_path: Path, crew: Crew) -> None:
    table = textures_table(tmp_path, 10 * ROWS)
    crew.load(table, needed=ROWS)

    rows = crew.load(table, until=time.monotonic())

    assert ROWS <= len(rows) < 10 * ROWS
    assert np.array_equal(rows[:ROWS], Crew().load(textures_table(tmp_path / "one", ROWS)))


def refuse(first: int, last: int) -> np.ndarray:
    raise ValueError(f"no rows {first} to {last}")
