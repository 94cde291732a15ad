"""What tells one version of code and libraries from another, and where results are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentloom.engine.cache import generation
from latentloom.engine.cache.generation import CacheSizeError, declare, open_store

SWITCH = "LATENTLOOM_A_SWITCH"


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("_folders", "_libraries", "_switches"):
        monkeypatch.setattr(generation, name, set())
    monkeypatch.delenv(SWITCH, raising=False)
    folder = tmp_path / "one" / "pack"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.py").write_text("a = 1\n")
    (folder / "inner" / "b.py").write_text("b = 1\n")
    declare(folder, ["pytest", "no-such-library"], [SWITCH])
    return folder


def test_it_is_the_same_wherever_the_code_lies(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = generation.generation()
    assert len(here) == generation.LENGTH
    (tmp_path / "two").mkdir()
    moved = code.rename(tmp_path / "two" / "pack")
    (moved / "a.py").write_bytes(b"a = 1\r\n")
    (moved / "notes.txt").write_text("no code")
    monkeypatch.setattr(generation, "_folders", {moved})
    assert generation.generation() == here


def test_code_its_names_libraries_and_switches_count(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [generation.generation()]
    (code / "a.py").write_text("a = 2\n")
    found.append(generation.generation())
    (code / "inner" / "b.py").rename(code / "inner" / "c.py")
    found.append(generation.generation())
    monkeypatch.setenv(SWITCH, "on")
    found.append(generation.generation())
    monkeypatch.setattr(generation, "version", lambda _: "999")
    found.append(generation.generation())
    assert len(set(found)) == len(found)


def test_builds_of_a_library_for_other_devices_count_as_one(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for version in ("2.6.0+cpu", "2.6.0+cu126", "2.6.0"):
        monkeypatch.setattr(generation, "version", lambda _, version=version: version)
        found.append(generation.generation())
    assert len(set(found)) == 1


def test_the_environment_says_where_and_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(generation.VARIABLE, str(tmp_path))
    monkeypatch.setenv(generation.SIZE_VARIABLE, "0.5")
    store = open_store()
    assert store is not None
    assert (store.folder, store.budget) == (tmp_path, 2**29)
    monkeypatch.delenv(generation.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    store = open_store()
    assert store is not None
    assert store.folder == tmp_path / "home" / "latentloom"
    monkeypatch.setenv(generation.VARIABLE, "off")
    assert open_store() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["much", "-1", "nan", "inf"])
def test_a_size_that_is_none_is_refused(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(generation.VARIABLE, "x")
    monkeypatch.setenv(generation.SIZE_VARIABLE, size)
    with pytest.raises(CacheSizeError, match="expected a number of GiB, 0 or more, got"):
        open_store()
