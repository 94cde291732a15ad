"""The disk cache: entries outlive the process, are complete or absent, and never wrong."""

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

from latentloom.engine.cache import disk
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


def name(number: int, kind: str = "input key") -> str:
    return sha256(f"{kind} {number}".encode()).hexdigest()


def entry(number: int, size: int = 100) -> Entry:
    return Entry((number, Blob(bytes([number % 256]) * size)), size)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "cache", min_seconds=0.0, packer=PACKER)
    yield made
    made.close()


def put(store: Store, *numbers: int, size: int = 100) -> None:
    for number in numbers:
        store.put(name(number), name(number, "key"), entry(number, size), 1.0, is_costly=True)
        store.flush()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_put_is_found_by_key_in_another_process(store: Store, tmp_path: Path) -> None:
    put(store, 1)
    other = Store(tmp_path / "cache", packer=PACKER)
    assert other.find(name(1, "key")) == name(1)
    loaded = other.load(name(1))
    assert loaded is not None
    assert loaded.outputs == entry(1).outputs
    assert loaded.digests == (entry(1).digest(0), None)
    assert (other.find(name(2, "key")), other.load(name(2))) == (None, None)


@pytest.mark.skipif(os.name == "nt", reason="rights of POSIX")
def test_only_its_user_may_look_into_a_folder_that_it_made(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "cache", min_seconds=0.0, packer=PACKER)
    put(store, 1)
    store.close()
    assert (tmp_path / "deep" / "cache").stat().st_mode & 0o777 == 0o700


def test_another_generation_finds_nothing(store: Store, tmp_path: Path) -> None:
    put(store, 1)
    assert Store(tmp_path / "cache", "newer", packer=PACKER).find(name(1, "key")) is None


def test_an_alias_finds_it_too(store: Store) -> None:
    put(store, 1)
    store.alias(name(1), name(9, "key"))
    store.flush()
    assert store.find(name(9, "key")) == name(1)


def test_what_is_cheap_is_not_stored(tmp_path: Path) -> None:
    store = Store(tmp_path, min_seconds=0.5, packer=PACKER)
    for number, seconds, is_costly in ((1, 0.4, False), (2, 0.5, False), (3, 0.0, True)):
        store.put(name(number), name(number, "key"), entry(number), seconds, is_costly)
    store.close()
    assert [store.has(name(number)) for number in (1, 2, 3)] == [False, True, True]


def test_a_slow_disk_costs_entries_not_memory(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "MAX_PENDING_BYTES", 250)
    go, known = threading.Event(), Store._write

    def waiting(self: Store, path: Path, parts: list[bytes]) -> None:
        go.wait(10)
        known(self, path, parts)

    monkeypatch.setattr(Store, "_write", waiting)
    for number in range(5):
        store.put(name(number), name(number, "key"), entry(number), 1.0, is_costly=True)
    go.set()
    store.flush()
    assert [store.has(name(number)) for number in range(5)] == [True, True, False, False, False]
    put(store, 9)
    assert store.has(name(9))


def test_what_cannot_be_packed_is_left_out(store: Store) -> None:
    store.put(name(1), name(1, "key"), Entry((object(),), 8), 1.0, is_costly=True)
    store.flush()
    assert not store.has(name(1))


def test_the_least_recently_used_entry_is_evicted_first(tmp_path: Path) -> None:
    store = Store(tmp_path, budget=7000, min_seconds=0.0, packer=PACKER)
    for number in range(4):
        put(store, number, size=1000)
        path = store._path("entries", name(number))
        os.utime(path, (number + 1, number + 1))
    assert store.load(name(0)) is not None
    put(store, 4, 5, size=1000)
    store.close()
    assert store.contents().nbytes <= 7000
    assert (store.has(name(0)), store.has(name(1)), store.has(name(5))) == (True, False, True)
    assert store.find(name(1, "key")) is None
    assert not list(tmp_path.glob(f"*/keys/*/{name(1, 'key')}"))


def test_what_is_larger_than_the_budget_is_not_stored(tmp_path: Path) -> None:
    store = Store(tmp_path, budget=50, min_seconds=0.0, packer=PACKER)
    put(store, 1)
    store.close()
    assert files(tmp_path) == []


def test_clearing_leaves_nothing(store: Store) -> None:
    put(store, 1, 2)
    assert store.contents().entries == 2
    store.clear()
    assert store.contents() == (0, 0)
    assert store.find(name(1, "key")) is None


def test_clearing_leaves_what_is_not_its_own(store: Store, tmp_path: Path) -> None:
    put(store, 1)
    mine = tmp_path / "cache" / "holiday" / "entries" / "ab" / "photo.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    store.clear()
    assert files(tmp_path) == [mine]


def test_an_entry_that_was_changed_is_dropped_or_right(store: Store) -> None:
    put(store, 7)
    path = store._path("entries", name(7))
    original, chance = path.read_bytes(), random.Random(1)
    for turn in range(1500):
        data = bytearray(original)
        if turn % 3 == 0:
            data = data[: chance.randrange(len(original))]
        elif turn % 3 == 1:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        else:
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(9)] = chance.randbytes(chance.randrange(9))
        path.write_bytes(data)
        loaded = store.load(name(7))
        if loaded is None:
            assert not path.exists()
        else:
            assert loaded.outputs == entry(7).outputs


def test_an_entry_under_another_name_is_dropped(store: Store) -> None:
    put(store, 1, 2)
    one, two = (store._path("entries", name(number)) for number in (1, 2))
    one.write_bytes(two.read_bytes())
    assert store.load(name(1)) is None
    assert store.load(name(2)) is not None


def test_a_key_file_without_an_input_key_finds_nothing(store: Store) -> None:
    put(store, 1)
    key_file = store._path("keys", name(1, "key"))
    for text in (b"", b"../../../etc/passwd", b"\xff\xfe", b"A" * 64, name(1).encode()[:-1]):
        key_file.write_bytes(text)
        assert store.find(name(1, "key")) is None


def test_the_key_file_of_another_entry_finds_nothing(store: Store) -> None:
    put(store, 1, 2)
    one, two = (store._path("keys", name(number, "key")) for number in (1, 2))
    one.write_bytes(two.read_bytes())
    assert store.find(name(1, "key")) is None
    assert store.find(name(2, "key")) == name(2)


def test_no_more_of_an_entry_is_read_than_its_header_announces(store: Store) -> None:
    put(store, 1)
    path = store._path("entries", name(1))
    os.truncate(path, 2**40)
    assert store.load(name(1)) is None
    assert not path.exists()


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links are followed here")
def test_links_in_the_cache_are_not_followed(store: Store, tmp_path: Path) -> None:
    put(store, 1)
    for path in (store._path("keys", name(1, "key")), store._path("entries", name(1))):
        path.replace(tmp_path / "away")
        path.symlink_to(tmp_path / "away")
        assert store.find(name(1, "key")) is None or store.load(name(1)) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("turn", range(8))
def test_a_failing_disk_costs_entries_and_leaves_no_temporary_file(
    number: int, turn: int, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        put(store, 1, 2)
    assert not [file for file in files(tmp_path) if file.name.endswith(disk.TEMPORARY)]
    for index in (1, 2):
        loaded = store.load(name(index))
        assert loaded is None or loaded.outputs == entry(index).outputs
    put(store, 3)
    assert store.find(name(3, "key")) == name(3)


def test_a_full_disk_evicts_old_entries_for_new_ones(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, *range(4), size=1000)
    capacity = sum(file.stat().st_size for file in files(tmp_path))
    known = Store._write

    def limited(self: Store, path: Path, parts: list[bytes]) -> None:
        held = sum(file.stat().st_size for file in files(tmp_path))
        if held + sum(map(len, parts)) > capacity:
            raise OSError(errno.ENOSPC, "full")
        known(self, path, parts)

    monkeypatch.setattr(Store, "_write", limited)
    put(store, 9, size=1000)
    assert store.has(name(9))
    assert store.contents().entries < 5


def test_a_folder_that_cannot_be_written_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file")
    store = Store(tmp_path / "cache", min_seconds=0.0, packer=PACKER)
    put(store, 1, 2, 3)
    store.close()
    (record,) = caplog.records
    assert str(tmp_path / "cache") in record.getMessage()


def test_stale_temporary_files_are_removed(store: Store) -> None:
    put(store, 1)
    left = store._path("entries", name(1)).with_name(f"{name(2)}.1.1{disk.TEMPORARY}")
    left.write_bytes(b"part")
    assert store.contents().entries == 1
    assert left.exists()
    os.utime(left, (time.time() - 2 * disk.STALE_SECONDS,) * 2)
    assert store.contents().entries == 1
    assert not left.exists()


WRITER = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from latentloom.engine.cache.memory import Entry
from latentloom.engine.cache.disk import Store
from tests.engine.cache.test_disk import name
store = Store(Path({folder!r}), min_seconds=0.0)
print("ready", flush=True)
for number in range(10**6):
    store.put(name(number), name(number, "key"), Entry((number, "x" * 5000), 5000), 1.0, True)
    store.flush()
"""


def test_a_killed_writer_leaves_complete_entries_only(tmp_path: Path) -> None:
    root, chance, seen = ROOT, random.Random(5), 0
    for _ in range(6):
        code = WRITER.format(root=str(root), folder=str(tmp_path))
        writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(chance.uniform(0.005, 0.06))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        store = Store(tmp_path, packer=PACKER)
        for path, _ in store._files("entries"):
            loaded = store.load(path.name)
            assert loaded is not None
            assert loaded.outputs[1] == "x" * 5000
            seen += 1
    assert seen > 0
