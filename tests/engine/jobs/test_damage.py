"""A damaged queue file: the server starts, says what was lost, and the file is stored."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from latentloom.engine.jobs.store import JobStore, QueuedJob

JOBS = 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.sqlite"


def fill(path: Path) -> None:
    store = JobStore(path)
    for number in range(JOBS):
        graph = {"1": {"class_type": "Show", "inputs": {"text": "x" * 200}}}
        store.submit(QueuedJob(f"job-{number}", graph, ("1",)))
    for _ in range(JOBS // 2):
        taken = store.take()
        assert taken is not None
        store.finish(taken.id, "completed", {"outputs": {}})
    store.close()


def change(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(sql)


@pytest.mark.parametrize(
    "assignment",
    ["record = '{'", "prompt = '[1]'", "state = 'pendinh'", "targets = 7",
     "prompt = CAST(x'ff' AS TEXT)", "number = 'first'",
     "prompt = replace(prompt, 'xxx', 'xyx')", "number = 8.0", "attempts = 2",
     "created = created + 1", "client = 'c'", "targets = '[]'", "digest = NULL",
     "digest = digest || 'c'"],
)  # fmt: skip
def test_one_job_that_cannot_be_read_is_reported_and_the_others_are_recovered(
    assignment: str, path: Path
) -> None:
    fill(path)
    change(path, f"UPDATE jobs SET {assignment} WHERE id = 'job-7'")
    store = JobStore(path)
    assert store.damage is not None
    assert f"{JOBS - 1} jobs were recovered, 1 lost ('job-7')." in store.damage
    assert {job.id for job in store.all()} == {f"job-{n}" for n in range(JOBS)} - {"job-7"}
    assert path.with_name("queue.sqlite.damaged-1").exists()


def version_1(path: Path) -> None:
    """Make a queue into one of the first version, whose rows have no digests."""
    change(path, "ALTER TABLE jobs DROP COLUMN digest")
    change(path, "PRAGMA user_version = 1")


def test_a_queue_of_the_first_version_is_given_digests(path: Path) -> None:
    fill(path)
    store = JobStore(path)
    jobs = store.all()
    store.close()
    version_1(path)
    store = JobStore(path)
    assert (store.all(), store.damage) == (jobs, None)
    store.close()
    change(path, "UPDATE jobs SET prompt = '{}' WHERE id = 'job-7'")
    assert "1 lost ('job-7')" in str(JobStore(path).damage)


def test_a_damaged_queue_of_the_first_version_is_recovered(path: Path) -> None:
    fill(path)
    version_1(path)
    change(path, "UPDATE jobs SET prompt = '{' WHERE id = 'job-7'")
    store = JobStore(path)
    assert "1 lost ('job-7')" in str(store.damage)
    store.close()
    assert JobStore(path).damage is None


def test_a_row_that_another_program_wrote_is_damage(path: Path) -> None:
    fill(path)
    change(path, "UPDATE jobs SET seq = 1000 WHERE id = 'job-7'")
    assert "1 lost ('job-7')" in str(JobStore(path).damage)


def test_every_change_of_a_job_is_digested(path: Path) -> None:
    fill(path)
    store = JobStore(path)
    assert store.take() is not None
    store.finish("job-30", "failed", {"parked": "why"})
    assert store.retry("job-30")
    assert store.cancel("job-31", {})
    assert store.take() is not None
    store.close()
    store = JobStore(path)
    assert store.damage is None
    assert len(store.all()) == JOBS


def test_a_file_that_is_not_a_queue_is_set_aside_unchanged(path: Path) -> None:
    content = b"not a database, but long enough to be one" * 100
    path.write_bytes(content)
    store = JobStore(path)
    assert "damaged file; 0 jobs were recovered" in str(store.damage)
    assert path.with_name("queue.sqlite.damaged-1").read_bytes() == content


def test_a_second_damaged_file_does_not_replace_the_first(path: Path) -> None:
    for content in (b"first" * 1000, b"second" * 1000):
        path.write_bytes(content)
        JobStore(path).close()
    assert path.with_name("queue.sqlite.damaged-1").read_bytes() == b"first" * 1000
    assert path.with_name("queue.sqlite.damaged-2").read_bytes() == b"second" * 1000


def test_a_queue_without_its_table_is_damaged(path: Path) -> None:
    fill(path)
    change(path, "ALTER TABLE jobs RENAME TO jobt")
    assert JobStore(path).damage is not None


def test_an_emptied_file_is_reported(path: Path) -> None:
    path.touch()
    assert "got an empty file" in str(JobStore(path).damage)


def test_a_sound_queue_reports_no_damage(path: Path) -> None:
    fill(path)
    assert JobStore(path).damage is None


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return the content truncated, or with up to eight bytes changed."""
    if rng.random() < 0.3:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        # The first page, which describes all others, is hit more often than its share.
        changed[rng.randrange(rng.choice((4096, len(content))))] = rng.randrange(256)
    # The last byte of the version: a queue of a newer version is refused, and loses nothing.
    changed[63] = content[63]
    return bytes(changed)


@pytest.mark.parametrize("seed", range(8))
def test_damage_anywhere_never_loses_a_job_silently(seed: int, path: Path) -> None:
    fill(path)
    content, rng = path.read_bytes(), random.Random(seed)
    store = JobStore(path)
    sound = store.all()
    store.close()
    for number in range(25):
        target = path.with_name(f"{number}.sqlite")
        target.write_bytes(damaged(content, rng))
        store = JobStore(target)
        jobs = store.all()
        assert jobs == sound or store.damage is not None
        assert all(job in sound for job in jobs)
        store.submit(QueuedJob("new", {}, ()))
        assert store.find("new") is not None
        store.close()


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A queue as a killed process leaves it: its log holds the last changes."""
    path = tmp_path_factory.mktemp("killed") / "queue.sqlite"
    fill(path)
    store = JobStore(path)
    for number in range(20):
        store.submit(QueuedJob(f"late-{number}", {"1": {"text": "y" * 6000}}, ("1",)))
    for name in ("queue.sqlite", "queue.sqlite-wal"):
        copy = path.with_name(name.replace("queue", "copy"))
        copy.write_bytes(path.with_name(name).read_bytes())
    store.close()
    return path.with_name("copy.sqlite")


def copied(killed: Path, path: Path, log: bytes) -> Path:
    path.write_bytes(killed.read_bytes())
    path.with_name(f"{path.name}-wal").write_bytes(log)
    return path


def test_a_log_of_a_killed_process_is_sound(killed: Path, path: Path) -> None:
    log = killed.with_name("copy.sqlite-wal").read_bytes()
    store = JobStore(copied(killed, path, log))
    assert store.damage is None
    assert len(store.all()) == JOBS + 20
    store.close()
    assert JobStore(path).damage is None


@pytest.mark.parametrize("seed", range(2))
def test_damage_to_the_log_is_never_silent(seed: int, killed: Path, tmp_path: Path) -> None:
    log, rng = killed.with_name("copy.sqlite-wal").read_bytes(), random.Random(seed)
    for number in range(25):
        changed = bytearray(log)
        position = rng.choice((rng.randrange(len(log)), rng.randrange(32), len(log) - 4100))
        changed[position] ^= 1 << rng.randrange(8)
        target = copied(killed, tmp_path / f"{number}.sqlite", bytes(changed))
        store = JobStore(target)
        assert store.damage is not None
        assert all(job.id.startswith(("job-", "late-")) for job in store.all())
        aside = target.with_name(f"{target.name}.damaged-1")
        assert aside.with_name(f"{aside.name}-wal").read_bytes() == changed
        store.close()
        assert JobStore(target).damage is None


def test_a_change_that_a_kill_interrupted_is_not_damage(killed: Path, path: Path) -> None:
    log = killed.with_name("copy.sqlite-wal").read_bytes()
    page_bytes = int.from_bytes(log[8:12], "big")
    # The last change has several pages; without the last one it was not acknowledged.
    store = JobStore(copied(killed, path, log[: -page_bytes - 24]))
    assert store.damage is None
    assert store.find("late-18") is not None
    assert store.find("late-19") is None
