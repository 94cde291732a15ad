"""Outputs that can run do so although others cannot; `--target` chooses nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.commands import as_json, run
from tests.paths import ROOT

GOOD: dict[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "inputs/house.png"}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "good"}},
}
SAVE = {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "bad"}}
BAD: dict[str, dict[str, Any]] = {
    "missing link": {"4": {"class_type": "ImageInvert", "inputs": {}}, "5": SAVE},
    "not installed": {"4": {"class_type": "Unheard Of", "inputs": {}}, "5": SAVE},
    "wrong value": {
        "4": {"class_type": "ImageScaleBy", "inputs": {"image": ["1", 0], "scale_by": -1}},
        "5": SAVE,
    },
    "dangling link": {"5": SAVE},
    "cycle": {"4": {"class_type": "ImageInvert", "inputs": {"image": ["4", 0]}}, "5": SAVE},
}


def file(tmp_path: Path, nodes: dict[str, Any]) -> Path:
    path = tmp_path / "graph.api.json"
    path.write_text(json.dumps(nodes))
    return path


def arguments(tmp_path: Path) -> tuple[str, ...]:
    return ("--output", str(tmp_path / "out"), "--input-dir", str(ROOT / "graphs"))


@pytest.mark.torch
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_sound_outputs_run_and_the_others_are_named(
    bad: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file(tmp_path, GOOD | bad)
    code, out, err = run(capsys, "run", path, *arguments(tmp_path))
    assert code == 0
    assert [Path(line).name.startswith("good") for line in out.split()] == [True]
    assert f"({next(iter(bad))})" in err
    code, planned = as_json(capsys, "plan", path, *arguments(tmp_path))
    runs = {id for id, step in planned["nodes"].items() if step["state"] != "skipped"}
    assert (code, runs) == (0, {"1", "2", "3"})
    assert planned["errors"]


@pytest.mark.torch
def test_json_has_the_problems_beside_the_outputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file(tmp_path, GOOD | BAD["missing link"])
    code, result = as_json(capsys, "run", path, *arguments(tmp_path))
    assert (code, result["status"]) == (0, "done")
    assert [output["node"] for output in result["outputs"]] == ["3"]
    assert [(error["kind"], error["node"]) for error in result["errors"]] == [
        ("missing_input", "4")
    ]


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_without_a_sound_output_nothing_runs(
    bad: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = {**GOOD, **bad}
    del nodes["3"]
    code, out, err = run(capsys, "run", file(tmp_path, nodes), *arguments(tmp_path))
    assert (code, out) == (1, "")
    assert err


@pytest.mark.torch
@pytest.mark.parametrize(
    ("targets", "code", "saved"),
    [(["3"], 0, 1), (["2"], 0, 0), (["5"], 1, 0), (["3", "5"], 0, 1), (["9"], 1, 0)],
)
def test_target_chooses_the_nodes(
    targets: list[str],
    code: int,
    saved: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = file(tmp_path, GOOD | BAD["missing link"])
    chosen = [word for target in targets for word in ("--target", target)]
    got, out, _ = run(capsys, "run", path, *chosen, *arguments(tmp_path))
    assert (got, len(out.split())) == (code, saved)


@pytest.mark.torch
def test_a_node_of_no_output_is_only_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = {"class_type": "Image Comparer (rgthree)", "inputs": {"image_a": ["1", 0]}}
    path = file(tmp_path, GOOD | {"4": sink})
    code, out, _ = run(capsys, "check", path, *arguments(tmp_path))
    assert code == 0
    assert "Image Comparer (rgthree) (4)" in out
    assert run(capsys, "run", path, *arguments(tmp_path))[0] == 0


@pytest.mark.torch
def test_images_without_metadata_are_other_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file(tmp_path, GOOD)
    code, out, _ = run(capsys, "run", path, *arguments(tmp_path))
    assert code == 0
    code, plain, _ = run(capsys, "run", path, "--no-metadata", *arguments(tmp_path))
    assert code == 0
    with Image.open(out.strip()) as carrying, Image.open(plain.strip()) as bare:
        assert "prompt" in carrying.info
        assert bare.info == {}
