"""`latentloom cache`, and what commands keep for the next one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from latentloom.engine.cache.generation import SIZE_VARIABLE, VARIABLE
from tests.cli.commands import as_json, run


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(SIZE_VARIABLE, "")
    return tmp_path / "cache"


@pytest.mark.torch
def test_a_second_command_finds_what_the_first_saved(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (graph, "--output", tmp_path / "out")
    assert run(capsys, "run", *options)[0] == 0
    code, out, _ = run(capsys, "plan", *options)
    assert (code, out.splitlines()[-1]) == (0, "0 run, 1 reused, 3 skipped")
    assert "reused (disk)" in out
    _, changed = as_json(capsys, "plan", *options, "--input", "size=25")
    assert changed["nodes"]["small"]["why"] == "width 24 -> 25"
    assert changed["nodes"]["small"]["reason"] == {
        "kind": "changed", "input": "width", "before": "24", "after": "25",
    }  # fmt: skip
    _, out, _ = run(capsys, "plan", *options, "--input", "size=25")
    assert re.search(r"what runs took \d+\.\d\d s last$", out)
    _, again = as_json(capsys, "run", *options)
    assert again["nodes"]["save"]["state"] == "reused"
    assert again["nodes"]["save"]["from"] == "disk"
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["small_00001_.png"]


@pytest.mark.torch
def test_the_command_prints_what_is_cached_and_clears_it(
    graph: Path, cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "run", graph, "--output", tmp_path / "out")
    _, result = as_json(capsys, "cache")
    assert (result["folder"], result["budget"]) == (str(cache_dir), 20 * 2**30)
    assert result["entries"] >= 1
    digest = cache_dir / "digests" / ("0" * 64)
    digest.parent.mkdir(exist_ok=True)
    digest.write_bytes(b"")
    code, out, _ = run(capsys, "cache", "--clear")
    assert (code, out) == (0, f"{cache_dir}: 0 results, 0.00 of 20 GiB\n")
    assert not digest.exists()
    assert (tmp_path / "out" / "small_00001_.png").exists()


@pytest.mark.torch
def test_off_keeps_nothing(
    graph: Path, cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        options = ("--output", tmp_path / "out", "--cache", "off")
        _, out, _ = run(capsys, "run", graph, *options)
        assert out.endswith(f"small_0000{number}_.png\n")
    assert not cache_dir.exists()
    _, out, _ = run(capsys, "cache", "--cache", "off")
    assert out.startswith("the disk cache is off")


@pytest.mark.torch
def test_another_folder_and_size_are_options(
    graph: Path, cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ("--cache", tmp_path / "other", "--cache-size", "0.25")
    run(capsys, "run", graph, "--output", tmp_path / "out", *other)
    assert not cache_dir.exists()
    _, result = as_json(capsys, "cache", *other)
    assert (result["folder"], result["budget"]) == (str(tmp_path / "other"), 2**28)
    assert result["entries"] >= 1


@pytest.mark.parametrize("size", ["-1", "much", "nan"])
def test_a_wrong_size_is_a_usage_error(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, problem = run(capsys, "cache", "--cache-size", size)
    assert (code, "--cache-size" in problem) == (2, True)
