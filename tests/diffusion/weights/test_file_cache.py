from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.weights.file_cache import (
    SAMPLE_BYTES,
    SAMPLES,
    SETTLED_NS,
    cache_while_unchanged,
    file_version,
)


def rewrite(path: Path, data: bytes) -> None:
    """Change a file in place; size, modification time and inode stay."""
    path.write_bytes(data)
    os.utime(path, ns=(10**9, 10**9))


def test_an_unchanged_file_is_read_once_and_a_changed_one_again(tmp_path: Path) -> None:
    calls: list[str] = []

    @cache_while_unchanged(maxsize=2)
    def read(path: Path) -> str:
        calls.append(path.name)
        return path.read_text()

    path = tmp_path / "f"
    path.write_text("ab")
    assert (read(path), read(path), calls) == ("ab", "ab", ["f"])
    path.write_text("cd")
    os.utime(path, ns=(1, 1))
    assert (read(path), calls) == ("cd", ["f", "f"])


def test_a_file_changed_with_size_time_and_inode_kept_is_read_again(tmp_path: Path) -> None:
    read, path = cache_while_unchanged(maxsize=2)(Path.read_bytes), tmp_path / "f"
    for step in range(20):
        rewrite(path, bytes([step]))
        assert read(path) == bytes([step])


def test_a_settled_file_is_not_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = tmp_path / "f", time.time_ns
    path.write_bytes(b"ab")
    assert file_version(path).sample
    monkeypatch.setattr(time, "time_ns", lambda: real() + 2 * SETTLED_NS)
    assert not file_version(path).sample


def test_the_samples_reach_both_ends_of_a_large_file(tmp_path: Path) -> None:
    path, size_bytes = tmp_path / "f", 2 * SAMPLES * SAMPLE_BYTES + 1
    samples = set()
    for position in (0, size_bytes - 1):
        with path.open("wb") as stream:
            stream.truncate(size_bytes)
            stream.seek(position)
            stream.write(b"x")
        samples.add(file_version(path).sample)
    assert len(samples) == 2


def test_a_file_that_takes_the_place_of_another_is_read_again(tmp_path: Path) -> None:
    read = cache_while_unchanged(maxsize=2)(Path.read_text)
    path, other = tmp_path / "f", tmp_path / "g"
    for file, text in ((path, "ab"), (other, "cd")):
        file.write_text(text)
        os.utime(file, ns=(1, 1))
    assert read(path) == "ab"
    other.replace(path)
    assert read(path) == "cd"


def test_a_missing_file_is_a_model_file_error(tmp_path: Path) -> None:
    read = cache_while_unchanged(maxsize=2)(Path.read_text)
    with pytest.raises(ModelFileError, match="gone cannot be read"):
        read(tmp_path / "gone")
