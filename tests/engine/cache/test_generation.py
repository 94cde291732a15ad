"""The generation tells versions of code and libraries apart; the environment places the cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import latentloom
from latentloom.engine.cache import generation as module
from latentloom.engine.cache.generation import (
    LENGTH,
    SIZE_VARIABLE,
    VARIABLE,
    CacheSizeError,
    ResultDependencies,
    generation,
    open_store,
)
from latentloom.engine.node.registry import Registry
from tests.paths import ROOT

SWITCH = "LATENTLOOM_A_SWITCH"
EMPTY = Registry()


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(SWITCH, raising=False)
    folder = tmp_path / "one" / "pack"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.py").write_text("a = 1\n")
    (folder / "inner" / "b.py").write_text("b = 1\n")
    return folder


def pack(folder: Path) -> Registry:
    return Registry.of(ResultDependencies((folder,), ("pytest", "no-such-library"), (SWITCH,)))


def test_it_is_the_same_wherever_the_code_lies(code: Path, tmp_path: Path) -> None:
    before = generation(pack(code))
    assert len(before) == LENGTH
    (tmp_path / "two").mkdir()
    moved = code.rename(tmp_path / "two" / "pack")
    (moved / "a.py").write_bytes(b"a = 1\r\n")
    (moved / "notes.txt").write_text("no code")
    assert generation(pack(moved)) == before


def test_code_its_names_libraries_and_switches_count(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [generation(pack(code))]
    (code / "a.py").write_text("a = 2\n")
    digests.append(generation(pack(code)))
    (code / "inner" / "b.py").rename(code / "inner" / "c.py")
    digests.append(generation(pack(code)))
    monkeypatch.setenv(SWITCH, "on")
    digests.append(generation(pack(code)))
    monkeypatch.setattr(module, "version", lambda _: "999")
    digests.append(generation(pack(code)))
    assert len(set(digests)) == len(digests)


def test_several_packs_count_in_any_order(code: Path) -> None:
    switches = Registry.of(ResultDependencies(switches=("LATENTLOOM_ANOTHER",)))
    both = generation(pack(code) | switches)
    assert both == generation(switches | pack(code))
    assert both != generation(pack(code))


def test_builds_of_a_library_for_other_devices_count_as_one(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = set()
    for version in ("2.6.0+cpu", "2.6.0+cu126", "2.6.0"):
        monkeypatch.setattr(module, "version", lambda _, version=version: version)
        digests.add(generation(pack(code)))
    assert len(digests) == 1


@pytest.mark.parametrize("first", ["latentloom.nodes.vae", "latentloom.nodes.codecs"])
def test_what_was_imported_before_does_not_count(first: str) -> None:
    code = (
        f"import {first}; from latentloom.engine.cache.generation import generation; "
        "from latentloom.nodes import registry; print(generation(registry()))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert process.stdout.strip() == generation(latentloom.registry())
    assert process.stdout.strip() != generation(EMPTY)


def test_the_environment_says_where_and_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setenv(SIZE_VARIABLE, "0.5")
    store = open_store(EMPTY)
    assert store is not None
    assert (store.folder, store.budget) == (tmp_path, 2**29)
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    store = open_store(EMPTY)
    assert store is not None
    assert store.folder == tmp_path / "home" / "latentloom"
    monkeypatch.setenv(VARIABLE, "off")
    assert open_store(EMPTY) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["much", "-1", "nan", "inf"])
def test_a_size_that_is_not_a_number_is_refused(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "x")
    monkeypatch.setenv(SIZE_VARIABLE, size)
    with pytest.raises(CacheSizeError, match="expected a number of GiB, 0 or more, got"):
        open_store(EMPTY)
