"""The bench for GPUs runs on a CPU too, where it shows that every row works."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import activity, cold_load, gpu
from bench.activity import Activity, trace_steps
from bench.gpu_lab import Lab
from bench.gpu_rows import ROWS
from bench.networks import make_modules
from bench.records import Record, fast_setting
from latentloom.diffusion.networks.fast.setting import VARIABLE

QUICK = ("--family", "mini", "--device", "cpu", "--steps", "1", "--repeats", "1")


def measure(path: Path, *arguments: str) -> list[dict[str, Any]]:
    """Return the rows of the file that a run of the bench writes, without the ceilings."""
    gpu.main([*QUICK, "--json", str(path), *arguments])
    data = json.loads(path.read_text())
    assert data["machine"]["torch"]
    return [row for row in data["rows"] if row["contender"] != "machine"]


def failing(_lab: Lab) -> Iterator[Record]:
    yield Record(row="first", contender="fast", value=1.0)
    raise RuntimeError("no memory\nsecond line")


def interrupted(_lab: Lab) -> Iterator[Record]:
    yield Record(row="first", contender="fast", value=1.0)
    raise KeyboardInterrupt


@pytest.fixture
def one_row(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The table of rows, empty, until the end of the test."""
    rows: dict[str, Any] = {}
    monkeypatch.setattr(gpu, "ROWS", rows)
    monkeypatch.setattr(gpu, "Lab", lambda *_: None)
    return rows


@pytest.mark.parametrize("row", [row for row in ROWS if row not in ("cold", "trace", "compiled")])
def test_a_row_runs_on_a_cpu(row: str, tmp_path: Path) -> None:
    records = measure(tmp_path / "gpu.json", "--rows", row)
    assert {"fast", "plain"} <= {record["contender"] for record in records}
    assert [record["error"] for record in records if record["error"]] == []
    assert all(record["value"] is not None for record in records)


def test_what_was_measured_is_traced_afterwards(tmp_path: Path) -> None:
    records = measure(tmp_path / "gpu.json", "--rows", "decode", "trace")
    names = [record["contender"] for record in records]
    assert names == ["fast", "plain", "diffusers"] * 2
    assert [record["kernels"] for record in records] == [None] * 3 + [0] * 3
    assert {record["unit"] for record in records[3:]} == {"ms busy"}


def test_all_compute_the_same_with_random_weights_that_matter(tmp_path: Path) -> None:
    records = measure(tmp_path / "gpu.json", "--rows", "errors")
    assert max(record["value"] for record in records) < 1e-4
    modules = make_modules("mini", torch.device("cpu"), torch.float32)
    layers = modules.control.controlnet_down_blocks
    assert all(layer.weight.abs().max() > 0 for layer in layers)


@pytest.mark.slow
def test_a_fresh_process_loads_the_written_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_load, "SETTLED_S", 0)
    modules = make_modules("mini", torch.device("cpu"), torch.float32)
    cases = dict(cold_load.measure_cold_load("mini", modules, side=64, steps=1))
    assert list(cases) == list(cold_load.CASES)
    assert all(stages["first image"] > stages["load"] for stages in cases.values())


def test_a_row_that_fails_is_reported_and_the_next_is_measured(
    one_row: dict[str, Any], tmp_path: Path
) -> None:
    one_row |= {"bad": failing, "good": lambda _: iter([Record(row="good", contender="fast")])}
    records = measure(tmp_path / "gpu.json", "--rows", "bad", "good")
    assert [(record["row"], record["error"]) for record in records] == [
        ("first", ""), ("mini bad", "RuntimeError: no memory"), ("good", ""),
    ]  # fmt: skip


def test_an_interrupt_loses_nothing_that_was_measured(
    one_row: dict[str, Any], tmp_path: Path
) -> None:
    one_row["row"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path / "gpu.json", "--rows", "row")
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert rows[-1]["row"] == "first"


def test_no_row_starts_after_the_time_is_over(one_row: dict[str, Any], tmp_path: Path) -> None:
    one_row["row"] = failing
    records = measure(tmp_path / "gpu.json", "--rows", "row", "--minutes", "0")
    assert [record["error"] for record in records] == ["no time left"]


def test_the_activity_of_a_step_is_free_of_what_a_run_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    def trace(work: Any, _device: torch.device) -> Activity:
        work()
        return Activity(kernels=7 + 3 * steps[-1], waits=1, busy_s=0.5 * steps[-1])

    monkeypatch.setattr(activity, "trace", trace)
    traced = trace_steps(steps.append, torch.device("cpu"))
    assert traced.step == Activity(kernels=3, busy_s=0.5)
    assert traced.of_run(20) == Activity(kernels=67, waits=1, busy_s=10)


def test_the_setting_of_fast_networks_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    with fast_setting("auto"):
        assert os.environ[VARIABLE] == "auto"
    assert os.environ[VARIABLE] == "off"
    monkeypatch.delenv(VARIABLE)
    with fast_setting("auto"):
        pass
    assert VARIABLE not in os.environ
