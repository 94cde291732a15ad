"""The disk tier: entries outlive it, are whole or not there, and never wrong."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from latentloom.engine.cache import disk as store
from latentloom.engine.cache.disk import Store
from latentloom.engine.cache.memory import Entry
from latentloom.engine.cache.packing import Array, ArrayCodec, Packer
from tests.paths import ROOT


class Blob(bytes):
    """Stands for a tensor."""


PACKER = Packer([
    ArrayCodec(
        f"{__name__}.Blob",
        lambda blob: Array("U8", (len(blob),), blob),
        lambda array: Blob(array.data),
    )
])  # fmt: skip


def name(number: int, kind: str = "trace") -> str:
    return sha256(f"{kind} {number}".encode()).hexdigest()


def entry(number: int, size: int = 100) -> Entry:
    return Entry((number, Blob(bytes([number % 256]) * size)), size)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "cache", worth_seconds=0.0, packer=PACKER)
    yield made
    made.close()


def put(kept: Store, *numbers: int, size: int = 100) -> None:
    for number in numbers:
        kept.put(name(number), name(number, "key"), entry(number, size), 1.0, costly=True)
        kept.flush()


def files(folder: Path) -> list[Path]:
    return [found for found in folder.rglob("*") if found.is_file()]


def test_what_was_put_is_found_by_key_in_another_process(kept: Store, tmp_path: Path) -> None:
    put(kept, 1)
    other = Store(tmp_path / "cache", packer=PACKER)
    assert other.find(name(1, "key")) == name(1)
    found = other.load(name(1))
    assert found is not None
    assert found.outputs == entry(1).outputs
    assert found.digests == (entry(1).digest(0), None)
    assert (other.find(name(2, "key")), other.load(name(2))) == (None, None)


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
def test_only_its_user_may_look_into_a_folder_that_it_made(tmp_path: Path) -> None:
    kept = Store(tmp_path / "deep" / "cache", worth_seconds=0.0, packer=PACKER)
    put(kept, 1)
    kept.close()
    assert (tmp_path / "deep" / "cache").stat().st_mode & 0o777 == 0o700


def test_another_generation_finds_nothing(kept: Store, tmp_path: Path) -> None:
    put(kept, 1)
    assert Store(tmp_path / "cache", "newer", packer=PACKER).find(name(1, "key")) is None


def test_an_alias_finds_it_too(kept: Store) -> None:
    put(kept, 1)
    kept.alias(name(1), name(9, "key"))
    kept.flush()
    assert kept.find(name(9, "key")) == name(1)


def test_what_is_cheap_is_not_kept(tmp_path: Path) -> None:
    kept = Store(tmp_path, worth_seconds=0.5, packer=PACKER)
    for number, seconds, costly in ((1, 0.4, False), (2, 0.5, False), (3, 0.0, True)):
        kept.put(name(number), name(number, "key"), entry(number), seconds, costly)
    kept.close()
    assert [kept.has(name(number)) for number in (1, 2, 3)] == [False, True, True]


def test_a_disk_that_is_far_behind_costs_entries_not_memory(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_WAITING_BYTES", 250)
    go, known = threading.Event(), Store._write

    def waiting(self: Store, place: Path, parts: list[bytes]) -> None:
        go.wait(10)
        known(self, place, parts)

    monkeypatch.setattr(Store, "_write", waiting)
    for number in range(5):
        kept.put(name(number), name(number, "key"), entry(number), 1.0, costly=True)
    go.set()
    kept.flush()
    assert [kept.has(name(number)) for number in range(5)] == [True, True, False, False, False]
    put(kept, 9)
    assert kept.has(name(9))


def test_what_cannot_be_packed_is_left_out(kept: Store) -> None:
    kept.put(name(1), name(1, "key"), Entry((object(),), 8), 1.0, costly=True)
    kept.flush()
    assert not kept.has(name(1))


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    kept = Store(tmp_path, budget=7000, worth_seconds=0.0, packer=PACKER)
    for number in range(4):
        put(kept, number, size=1000)
        place = kept._place("entries", name(number))
        os.utime(place, (number + 1, number + 1))
    assert kept.load(name(0)) is not None
    put(kept, 4, 5, size=1000)
    kept.close()
    assert kept.contents().nbytes <= 7000
    assert (kept.has(name(0)), kept.has(name(1)), kept.has(name(5))) == (True, False, True)
    assert kept.find(name(1, "key")) is None
    assert not list(tmp_path.glob(f"*/keys/*/{name(1, 'key')}"))


def test_what_is_larger_than_the_budget_is_not_kept(tmp_path: Path) -> None:
    kept = Store(tmp_path, budget=50, worth_seconds=0.0, packer=PACKER)
    put(kept, 1)
    kept.close()
    assert files(tmp_path) == []


def test_clearing_leaves_nothing(kept: Store) -> None:
    put(kept, 1, 2)
    assert kept.contents().entries == 2
    kept.clear()
    assert kept.contents() == (0, 0)
    assert kept.find(name(1, "key")) is None


def test_clearing_leaves_what_is_not_its_own(kept: Store, tmp_path: Path) -> None:
    put(kept, 1)
    mine = tmp_path / "cache" / "holiday" / "entries" / "ab" / "photo.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    kept.clear()
    assert files(tmp_path) == [mine]


def test_an_entry_that_was_changed_is_dropped_or_right(kept: Store) -> None:
    put(kept, 7)
    place = kept._place("entries", name(7))
    whole, chance = place.read_bytes(), random.Random(1)
    for turn in range(1500):
        data = bytearray(whole)
        if turn % 3 == 0:
            data = data[: chance.randrange(len(whole))]
        elif turn % 3 == 1:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        else:
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(9)] = chance.randbytes(chance.randrange(9))
        place.write_bytes(data)
        found = kept.load(name(7))
        if found is None:
            assert not place.exists()
        else:
            assert found.outputs == entry(7).outputs


def test_an_entry_under_another_name_is_dropped(kept: Store) -> None:
    put(kept, 1, 2)
    one, two = (kept._place("entries", name(number)) for number in (1, 2))
    one.write_bytes(two.read_bytes())
    assert kept.load(name(1)) is None
    assert kept.load(name(2)) is not None


def test_a_key_that_names_no_trace_finds_nothing(kept: Store) -> None:
    put(kept, 1)
    alias = kept._place("keys", name(1, "key"))
    for text in (b"", b"../../../etc/passwd", b"\xff\xfe", b"A" * 64, name(1).encode()[:-1]):
        alias.write_bytes(text)
        assert kept.find(name(1, "key")) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("turn", range(8))
def test_a_disk_that_fails_costs_entries_and_leaves_no_part(
    number: int, turn: int, kept: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [0]

    def failing(known: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] == turn + 1:
                raise OSError(number, os.strerror(number))
            return known(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for method in ("open", "replace", "mkdir"):
            patch.setattr(Path, method, failing(getattr(Path, method)))
        put(kept, 1, 2)
    assert not [file for file in files(tmp_path) if file.name.endswith(store.TEMPORARY)]
    for each in (1, 2):
        found = kept.load(name(each))
        assert found is None or found.outputs == entry(each).outputs
    put(kept, 3)
    assert kept.find(name(3, "key")) == name(3)


def test_a_full_disk_takes_new_entries_for_old_ones(
    kept: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(kept, *range(4), size=1000)
    room = sum(file.stat().st_size for file in files(tmp_path))
    known = Store._write

    def limited(self: Store, place: Path, parts: list[bytes]) -> None:
        held = sum(file.stat().st_size for file in files(tmp_path))
        if held + sum(map(len, parts)) > room:
            raise OSError(errno.ENOSPC, "full")
        known(self, place, parts)

    monkeypatch.setattr(Store, "_write", limited)
    put(kept, 9, size=1000)
    assert kept.has(name(9))
    assert kept.contents().entries < 5


def test_a_folder_that_cannot_be_written_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file")
    kept = Store(tmp_path / "cache", worth_seconds=0.0, packer=PACKER)
    put(kept, 1, 2, 3)
    kept.close()
    (record,) = caplog.records
    assert str(tmp_path / "cache") in record.getMessage()


def test_what_a_writer_left_behind_long_ago_goes(kept: Store) -> None:
    put(kept, 1)
    left = kept._place("entries", name(1)).with_name(f"{name(2)}.1.1{store.TEMPORARY}")
    left.write_bytes(b"part")
    assert kept.contents().entries == 1
    assert left.exists()
    os.utime(left, (time.time() - 2 * store.STALE_SECONDS,) * 2)
    assert kept.contents().entries == 1
    assert not left.exists()


WRITER = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from latentloom.engine.cache.memory import Entry
from latentloom.engine.cache.disk import Store
from tests.engine.cache.test_disk import name
kept = Store(Path({folder!r}), worth_seconds=0.0)
print("ready", flush=True)
for number in range(10**6):
    kept.put(name(number), name(number, "key"), Entry((number, "x" * 5000), 5000), 1.0, True)
    kept.flush()
"""


def test_a_writer_that_is_killed_leaves_whole_entries(tmp_path: Path) -> None:
    root, chance, seen = ROOT, random.Random(5), 0
    for _ in range(6):
        code = WRITER.format(root=str(root), folder=str(tmp_path))
        writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(chance.uniform(0.005, 0.06))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        kept = Store(tmp_path, packer=PACKER)
        for place, _ in kept._files("entries"):
            found = kept.load(place.name)
            assert found is not None
            assert found.outputs[1] == "x" * 5000
            seen += 1
    assert seen > 0
