"""A server that is killed loses nothing that it acknowledged."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentloom.engine.jobs.store import PARKED
from tests.web.crashing import Child, soak


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_no_acknowledged_job_is_lost_when_the_server_is_killed(kills: int, tmp_path: Path) -> None:
    report = soak(tmp_path, kills)
    assert report.acknowledged
    assert report.lost == []
    assert report.torn == []
    assert len(report.parked) <= kills // 2


def test_a_job_that_kills_the_server_twice_is_parked_and_the_next_one_runs(tmp_path: Path) -> None:
    deadly = {"1": {"class_type": "Die", "inputs": {"name": "x"}}}
    good = {"1": {"class_type": "Keep", "inputs": {"name": "good"}}}
    child = Child(tmp_path)
    child.submit(deadly, "deadly")
    child.wait()
    child = Child(tmp_path)
    child.wait()
    child = Child(tmp_path)
    child.submit(good, "good")
    history = child.history_with("good")
    child.kill()
    assert history["good"]["status"]["status_str"] == "success"
    messages = history["deadly"]["status"]["messages"]
    assert messages[-1][0] == "execution_error"
    assert messages[-1][1]["exception_message"] == PARKED


def test_a_job_goes_on_after_a_kill_with_what_its_nodes_had_done(tmp_path: Path) -> None:
    prompt = {
        "work": {"class_type": "Labour", "inputs": {"folder": str(tmp_path)}},
        "die": {"class_type": "DieOnce", "inputs": {"value": ["work", 0], "folder": str(tmp_path)}},
        "tell": {"class_type": "Tell", "inputs": {"value": ["die", 0]}},
    }
    child = Child(tmp_path)
    child.submit(prompt, "long")
    child.wait()
    child = Child(tmp_path)
    history = child.history_with("long")
    child.kill()
    assert history["long"]["status"]["status_str"] == "success"
    assert (tmp_path / "labour.txt").read_text() == "done\n"
