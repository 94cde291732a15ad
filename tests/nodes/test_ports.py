"""Port types of nodes: one name stands for one range."""

from __future__ import annotations

import ast
import os
import time
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from latentloom.diffusion.weights.file_cache import SETTLED_NS, file_version
from latentloom.engine.cache.generation import OFF, VARIABLE
from latentloom.nodes import ports
from tests.paths import ROOT


def port_types() -> list[str]:
    """Return the names of the port types that node modules define, one for each definition."""
    return [
        target.id
        for path in (ROOT / "nodes").glob("*.py")
        for statement in ast.parse(path.read_text()).body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Subscript)
        for target in statement.targets
        if isinstance(target, ast.Name)
    ]


def test_a_port_type_is_defined_once() -> None:
    names = Counter(port_types())
    assert names["Seed"] == 1
    assert [name for name, count in names.items() if count > 1] == []


def test_digests_of_model_files_are_stored_in_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    stored = ports.stored_digests()
    assert stored is not None
    assert stored.folder == tmp_path / "digests"
    monkeypatch.setenv(VARIABLE, OFF)
    assert ports.stored_digests() is None


def test_the_digest_of_a_model_file_is_looked_up_in_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    path = tmp_path / "model.safetensors"
    _, file = get_args(ports.CheckpointFile)
    path.write_bytes(bytes(2**20))
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10 * SETTLED_NS)
    while (version := file_version(path)).sample:
        os.utime(path)
    stored = ports.stored_digests()
    assert stored is not None
    stored.put(path, version, "0" * 64)
    assert file.digest(path) == "0" * 64
