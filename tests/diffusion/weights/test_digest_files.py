from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from latentloom.diffusion.weights import digest, digest_files
from latentloom.diffusion.weights.digest import content_digest
from latentloom.diffusion.weights.digest_files import SETTLED_NS, DigestFiles
from latentloom.diffusion.weights.file_cache import file_version
from tests.paths import ROOT

COMPUTE = """
import sys, time
from pathlib import Path
from latentloom.diffusion.weights import digest
from latentloom.diffusion.weights.digest_files import DigestFiles
now = time.time_ns
time.time_ns = lambda: now() + 60 * 10**9
real, hashed = digest._read, []
digest._read = lambda path: hashed.append(path) or real(path)
stored = DigestFiles(Path(sys.argv[1]), min_file_bytes=1)
print(digest.content_digest(Path(sys.argv[2]), stored), len(hashed))
"""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(path: Path, data: bytes) -> None:
    """Write a file whose change time is not, by accident, a multiple of a coarse clock's tick."""
    path.write_bytes(data)
    while path.stat().st_ctime_ns % 10**7 == 0:
        os.utime(path)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which the files that tests write are old, and their times fine."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 2 * SETTLED_NS)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read to be hashed, as it happens."""
    names: list[str] = []
    real = digest._read

    def read(path: Path) -> str:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(digest, "_read", read)
    return names


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    write(path, b"weights")
    return path


@pytest.fixture
def stored(tmp_path: Path) -> DigestFiles:
    return DigestFiles(tmp_path / "digests", min_file_bytes=1)


def link_to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_new_process() -> None:
    digest._known_digests.cache_clear()


def entries(stored: DigestFiles) -> list[Path]:
    return sorted(stored.folder.iterdir()) if stored.folder.exists() else []


@pytest.mark.usefixtures("settled")
def test_a_second_process_reads_no_file_that_is_unchanged(
    model: Path, stored: DigestFiles, hashed: list[str]
) -> None:
    assert content_digest(model, stored) == sha256(b"weights")
    as_new_process()
    assert content_digest(model, DigestFiles(stored.folder, min_file_bytes=1)) == sha256(b"weights")
    assert hashed == ["model.safetensors"]


def test_processes_share_digests(model: Path, stored: DigestFiles) -> None:
    command = [sys.executable, "-c", COMPUTE, str(stored.folder), str(model)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    answers = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert answers == [f"{sha256(b'weights')} 1\n", f"{sha256(b'weights')} 0\n"]


@pytest.mark.usefixtures("settled")
def test_a_file_changed_with_size_and_modification_time_restored_is_hashed_again(
    model: Path, stored: DigestFiles, hashed: list[str]
) -> None:
    content_digest(model, stored)
    before = model.stat()
    with model.open("r+b") as stream:
        stream.write(b"WEIGHTS")
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = model.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        7,
        before.st_mtime_ns,
        before.st_ino,
    )
    as_new_process()
    assert content_digest(model, stored) == sha256(b"WEIGHTS")
    assert len(hashed) == 2


def test_a_file_that_changed_just_now_is_not_stored(
    model: Path, stored: DigestFiles, hashed: list[str]
) -> None:
    content_digest(model, stored)
    as_new_process()
    content_digest(model, stored)
    assert (entries(stored), len(hashed)) == ([], 2)


def test_a_file_that_settles_is_stored_only_after_the_longer_wait(
    model: Path, stored: DigestFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + SETTLED_NS // 2)
    assert not file_version(model).sample
    content_digest(model, stored)
    assert entries(stored) == []


@pytest.mark.usefixtures("settled")
def test_a_file_on_a_file_system_with_coarse_times_is_not_stored(
    model: Path, stored: DigestFiles
) -> None:
    coarse = file_version(model)._replace(sample="content")
    stored.put(model, coarse, "0" * 64)
    assert (entries(stored), stored.find(model, coarse)) == ([], None)


@pytest.mark.usefixtures("settled")
def test_a_file_that_changes_while_it_is_hashed_is_not_stored(
    model: Path, stored: DigestFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> str:
        path.write_bytes(b"WEIGHTS")
        return "0" * 64

    monkeypatch.setattr(digest, "_read", read)
    content_digest(model, stored)
    assert entries(stored) == []


@pytest.mark.usefixtures("settled")
def test_systems_without_a_change_time_store_nothing(
    model: Path, stored: DigestFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest_files, "HAS_CHANGE_TIME", False)
    content_digest(model, stored)
    assert entries(stored) == []


@pytest.mark.usefixtures("settled")
def test_small_files_are_not_stored(model: Path, tmp_path: Path) -> None:
    stored = DigestFiles(tmp_path / "digests", min_file_bytes=8)
    content_digest(model, stored)
    assert entries(stored) == []


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("position", [0, 25, -100, -70, -1])
@pytest.mark.parametrize("length", [None, 0, 100])
def test_a_damaged_entry_is_ignored_and_replaced(
    model: Path, stored: DigestFiles, hashed: list[str], position: int, length: int | None
) -> None:
    content_digest(model, stored)
    (entry,) = entries(stored)
    data = bytearray(entry.read_bytes())
    data[position] ^= 1
    entry.write_bytes(data[:length])
    as_new_process()
    assert content_digest(model, stored) == sha256(b"weights")
    as_new_process()
    assert content_digest(model, stored) == sha256(b"weights")
    assert len(hashed) == 2


@pytest.mark.usefixtures("settled")
def test_an_entry_under_the_name_of_another_file_is_ignored(
    model: Path, stored: DigestFiles, tmp_path: Path
) -> None:
    version = file_version(model)
    stored.put(model, version, "0" * 64)
    (entry,) = entries(stored)
    stored.put(tmp_path / "other", version, "1" * 64)
    (other,) = set(entries(stored)) - {entry}
    other.replace(entry)
    assert stored.find(model, version) is None


@pytest.mark.usefixtures("settled")
def test_an_entry_that_others_may_write_is_ignored(model: Path, stored: DigestFiles) -> None:
    version = file_version(model)
    stored.put(model, version, "0" * 64)
    (entry,) = entries(stored)
    assert stored.find(model, version) == "0" * 64
    entry.chmod(0o620)
    assert stored.find(model, version) is None


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, link_to_zero])
def test_what_is_not_a_regular_file_is_ignored(
    model: Path, stored: DigestFiles, make: Callable[[Path], None]
) -> None:
    version = file_version(model)
    stored.put(model, version, "0" * 64)
    (entry,) = entries(stored)
    entry.unlink()
    make(entry)
    assert stored.find(model, version) is None


@pytest.mark.usefixtures("settled")
def test_a_folder_that_cannot_be_made_costs_only_time(
    model: Path, tmp_path: Path, hashed: list[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    stored = DigestFiles(tmp_path / "file" / "digests", min_file_bytes=1)
    assert content_digest(model, stored) == sha256(b"weights")
    as_new_process()
    assert content_digest(model, stored) == sha256(b"weights")
    assert len(hashed) == 2


@pytest.mark.usefixtures("settled")
def test_the_entries_used_least_recently_go_first(model: Path, tmp_path: Path) -> None:
    stored = DigestFiles(tmp_path / "digests", max_entries=10, min_file_bytes=1)
    version = file_version(model)
    for index in range(10):
        stored.put(tmp_path / str(index), version, "0" * 64)
        os.utime(stored._entry(tmp_path / str(index)), (index, index))
    assert stored.find(tmp_path / "0", version)
    stored.put(tmp_path / "10", version, "0" * 64)
    names = [str(index) for index in range(11) if stored.find(tmp_path / str(index), version)]
    assert names == ["0", *(str(index) for index in range(2, 11))]


@pytest.mark.usefixtures("settled")
def test_the_number_of_entries_is_bounded(model: Path, tmp_path: Path) -> None:
    stored = DigestFiles(tmp_path / "digests", max_entries=10, min_file_bytes=1)
    version = file_version(model)
    for index in range(100):
        stored.put(tmp_path / str(index), version, "0" * 64)
    assert len(entries(stored)) <= 10


@pytest.mark.usefixtures("settled")
def test_a_folder_is_read_while_it_is_written(model: Path, stored: DigestFiles) -> None:
    version = file_version(model)
    stored.put(model, version, "0" * 64)
    is_done = threading.Event()

    def write() -> None:
        other = DigestFiles(stored.folder, min_file_bytes=1)
        for _ in range(200):
            other.put(model, version, "0" * 64)
        is_done.set()

    writer = threading.Thread(target=write)
    writer.start()
    answers = set()
    while not is_done.is_set():
        answers.add(stored.find(model, version))
    writer.join()
    assert answers <= {"0" * 64}
    assert len(entries(stored)) == 1


@pytest.mark.usefixtures("settled")
def test_the_cache_folder_that_it_makes_is_readable_by_its_user_only(
    model: Path, tmp_path: Path
) -> None:
    stored = DigestFiles(tmp_path / "cache" / "digests", min_file_bytes=1)
    stored.put(model, file_version(model), "0" * 64)
    folders = (stored.folder.parent, stored.folder, *entries(stored))
    assert [folder.stat().st_mode & 0o077 for folder in folders] == [0, 0, 0]


@pytest.mark.usefixtures("settled")
def test_clear_removes_every_entry(model: Path, stored: DigestFiles) -> None:
    stored.put(model, file_version(model), "0" * 64)
    stored.clear()
    assert entries(stored) == []


@pytest.mark.usefixtures("settled")
def test_each_file_of_a_folder_is_stored(
    tmp_path: Path, stored: DigestFiles, hashed: list[str]
) -> None:
    folder = tmp_path / "unet"
    folder.mkdir()
    for name in ("a", "b"):
        write(folder / name, name.encode())
    first = content_digest(folder, stored)
    as_new_process()
    assert content_digest(folder, stored) == first == content_digest(folder)
    assert hashed == ["a", "b"]
