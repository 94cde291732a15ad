from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from latentloom.engine.cache import file_digests
from latentloom.engine.cache.file_digests import COARSE_NS, SETTLED_NS, FileDigests

Clock = Callable[[int], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return a function that shifts the clock by nanoseconds."""
    real = time.time_ns

    def shift(by_ns: int) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: real() + by_ns)

    return shift


def rewrite(path: Path, data: bytes) -> None:
    """Change a file in place; size, modification time and inode stay."""
    path.write_bytes(data)
    os.utime(path, ns=(10**9, 10**9))


def test_a_file_changed_with_size_time_and_inode_kept_has_its_new_digest(
    tmp_path: Path,
) -> None:
    path, digests = tmp_path / "f", FileDigests()
    for step in range(20):
        rewrite(path, bytes([step]))
        assert digests.digest(path) == hashlib.sha256(bytes([step])).hexdigest()


def test_a_settled_file_is_read_once(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, digests = tmp_path / "f", FileDigests()
    path.write_bytes(b"ab")
    clock(2 * SETTLED_NS)
    first = digests.digest(path)
    monkeypatch.setattr(hashlib, "sha256", lambda: pytest.fail("read again"))
    assert digests.digest(path) == first


def test_a_settled_file_that_changes_is_read_again(tmp_path: Path, clock: Clock) -> None:
    path, digests = tmp_path / "f", FileDigests()
    rewrite(path, b"ab")
    clock(2 * SETTLED_NS)
    first = digests.digest(path)
    time.sleep(0.02)  # longer than a tick of the file system's clock
    rewrite(path, b"cd")
    assert digests.digest(path) != first


def test_where_times_are_coarse_the_content_decides(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, digests, real = tmp_path / "f", FileDigests(), file_digests._stamp_of
    coarse = 10**18 - 10**18 % COARSE_NS
    monkeypatch.setattr(file_digests, "_stamp_of", lambda status: (*real(status)[:4], coarse))
    rewrite(path, b"ab")
    clock(2 * SETTLED_NS)
    first = digests.digest(path)
    rewrite(path, b"cd")
    assert digests.digest(path) != first
