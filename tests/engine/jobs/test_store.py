"""The durable queue: order, states that end once, what a new process finds."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from latentloom.engine.jobs import store as store_module
from latentloom.engine.jobs.schema import VERSION
from latentloom.engine.jobs.store import (
    MAX_ATTEMPTS,
    DuplicateError,
    JobStore,
    QueuedJob,
    QueueError,
    QueueFullError,
)


def job(id: str, number: float = 0.0) -> QueuedJob:
    return QueuedJob(id, {"1": {"class_type": "Show", "inputs": {}}}, ("1",), number)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.sqlite"


def test_the_lowest_number_runs_first_and_then_the_oldest(path: Path) -> None:
    store = JobStore(path)
    for id, number in (("a", 0), ("b", 1), ("c", -2), ("d", 1)):
        store.submit(job(id, number))
    taken = [queued.id for _ in range(4) if (queued := store.take())]
    assert taken == ["c", "a", "b", "d"]
    assert store.take() is None


def test_what_was_accepted_is_found_by_the_next_process(path: Path) -> None:
    store = JobStore(path)
    store.submit(QueuedJob("a", {"1": {}}, ("1", "2"), 3.5, {"k": "ä"}, "client", 17))
    store.close()
    stored = JobStore(path).take()
    assert stored is not None
    assert (stored.id, stored.targets, stored.number) == ("a", ("1", "2"), 3.5)
    assert (stored.extra, stored.client, stored.created) == ({"k": "ä"}, "client", 17)


def test_a_job_ends_once_and_stays_as_it_ended(path: Path) -> None:
    store = JobStore(path)
    store.submit(job("a"))
    store.take()
    assert store.finish("a", "completed", {"outputs": {"1": {}}})
    assert not store.finish("a", "cancelled", {})
    assert not store.cancel("a", {})
    stored = store.find("a")
    assert stored is not None
    assert (stored.state, stored.record) == ("completed", {"outputs": {"1": {}}})


def test_racing_cancels_and_ends_leave_one_state(path: Path) -> None:
    store = JobStore(path)
    for number in range(50):
        store.submit(job(str(number)))
    won: list[str] = []

    def cancel() -> None:
        won.extend(f"{n} cancelled" for n in range(50) if store.cancel(str(n), {}))

    def work() -> None:
        while (taken := store.take()) is not None:
            if store.finish(taken.id, "completed", {}):
                won.append(f"{taken.id} completed")

    threads = [threading.Thread(target=target) for target in (cancel, work, work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 50
    assert sorted(won) == sorted(f"{stored.id} {stored.state}" for stored in store.all())


def test_a_job_that_was_running_is_run_again_and_parked_after_the_second_death(path: Path) -> None:
    store = JobStore(path)
    store.submit(job("deadly"))
    store.submit(job("other", 1))
    for _ in range(MAX_ATTEMPTS):
        taken = store.take()
        assert taken is not None
        assert taken.id == "deadly"
        store.close()
        store = JobStore(path)
    stored = store.find("deadly")
    assert stored is not None
    assert store.parked == ("deadly",)
    assert stored.state == "failed"
    assert "crashed twice" in stored.record["parked"]
    taken = store.take()
    assert taken is not None
    assert taken.id == "other"


def test_a_job_that_is_put_back_in_good_order_is_not_counted(path: Path) -> None:
    store = JobStore(path)
    store.submit(job("a"))
    for _ in range(MAX_ATTEMPTS + 2):
        assert store.take() is not None
        store.release("a")
    stored = store.find("a")
    assert stored is not None
    assert (stored.state, stored.attempts) == ("pending", 0)


def test_an_id_is_accepted_once(path: Path) -> None:
    store = JobStore(path)
    store.submit(job("a"))
    with pytest.raises(DuplicateError, match="there is already a job 'a'"):
        store.submit(job("a"))


def test_history_gives_the_last_ones_oldest_first(path: Path) -> None:
    store = JobStore(path)
    for id in "abcd":
        store.submit(job(id))
        store.finish(id, "completed", {})
    assert [stored.id for stored in store.ended(2)] == ["c", "d"]
    assert [stored.id for stored in store.ended(2, 1)] == ["b", "c"]
    assert store.forget(["a", "nothing"]) == 1
    assert store.forget() == 3


def test_a_second_process_is_refused_while_the_first_lives(path: Path) -> None:
    store = JobStore(path)
    code = (
        "import sys; from pathlib import Path; from latentloom.engine.jobs.store import *\n"
        "try: JobStore(Path(sys.argv[1]))\n"
        "except QueueError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(path)]
    refused = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "in use by another server" in refused.stdout
    store.close()
    taken = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (taken.stdout, taken.stderr) == ("", "")


def test_a_queue_of_before_versions_is_opened_and_one_of_a_newer_version_refused(
    path: Path,
) -> None:
    store = JobStore(path)
    store.submit(job("old"))
    store.close()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA user_version = 0")
    store = JobStore(path)
    assert [stored.id for stored in store.queued("pending")] == ["old"]
    store.close()
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (VERSION,)
        raw.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(QueueError, match="written by a newer version of Latentloom"):
        JobStore(path)


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_jobs_are_accepted_without_loss(count: int, path: Path) -> None:
    store = JobStore(path)
    for number in range(count):
        store.submit(job(str(number), number))
    assert store.remaining() == count
    first = store.take()
    assert first is not None
    assert first.id == "0"


def test_a_list_of_jobs_is_bounded_in_bytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_READ_BYTES", 2500)
    store = JobStore(path)
    for number in range(6):
        store.submit(QueuedJob(f"{number}", {"1": {"text": "x" * 1000}}, ("1",)))
    assert [job.id for job in store.queued("pending")] == ["0", "1"]
    for _ in range(6):
        taken = store.take()
        assert taken is not None
        store.finish(taken.id, "completed", {})
    # The history shows the last ones; a page is of short jobs, as it reads no prompts.
    assert [job.id for job in store.ended()] == ["4", "5"]
    assert [job.id for job in store.ended(offset=1)] == ["1", "2"]
    jobs, total = store.page(("completed",), 10, 0)
    assert (len(jobs), total) == (6, 6)
    monkeypatch.setattr(store_module, "MAX_READ_BYTES", 10)
    assert [job.id for job in store.ended()] == ["5"]
    store.close()


def test_a_full_queue_loses_its_oldest_history_and_then_takes_no_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_QUEUE_BYTES", 500_000)
    monkeypatch.setattr(store_module, "PRUNE_EVERY", 1)
    store = JobStore(path)
    graph = {"1": {"text": "x" * 100_000}}
    for number in range(9):
        store.submit(QueuedJob(f"{number}", graph, ("1",)))
        store.take()
        store.finish(f"{number}", "completed", {})
    assert [job.id for job in store.ended()] == ["4", "5", "6", "7", "8"]
    for number in range(9, 14):
        store.submit(QueuedJob(f"{number}", graph, ("1",)))
    assert store.ended() == []
    with pytest.raises(QueueFullError, match="the queue is full"):
        store.submit(QueuedJob("14", graph, ("1",)))
    assert len(store.queued("pending")) == 5
    store.remove_pending()
    store.submit(QueuedJob("last", graph, ("1",)))
    store.close()
