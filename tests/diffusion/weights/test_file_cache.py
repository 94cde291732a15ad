from __future__ import annotations

import os
from pathlib import Path

import pytest

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.weights.file_cache import cache_while_unchanged


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
