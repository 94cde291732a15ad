"""The command line refuses in words: no traceback for any mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from latentloom import cli
from tests.cli.commands import as_json, run
from tests.engine.fakes import REGISTRY
from tests.paths import ROOT


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run"],
        ["run", "g.yaml", "--set", "x"],
        ["run", "g.yaml", "--set", "x=1"],
        ["run", "g.yaml", "--set", "..x=1"],
        ["run", "g.yaml", "--set", "=1"],
        ["run", "g.yaml", "--input", "=1"],
        ["run", "g.yaml", "--what"],
        ["run", "g.yaml", "--vram", "much"],
        ["run", "g.yaml", "--reserve-vram", "-1"],
        ["run", "g.yaml", "--fast", "on"],
        ["convert", "a"],
        ["convert", "a", "b", "--to", "xml"],
    ],
)
def test_wrong_usage_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "usage:" in err


BAD_FILES = {
    "missing.yaml": None,
    "empty.yaml": b"",
    "binary.yaml": bytes(range(256)),
    "list.json": b"[1, 2]",
    "cut.json": b'{"latentloom": 1, "nodes": {',
    "deep.json": b"[" * 100_000,
    "alias.yaml": b"a: &a [*a]",
    "wrong.png": b"not an image",
    "shape.yaml": b"latentloom: 1\nnodes: 5\n",
    "type.yaml": b"latentloom: 1\nnodes:\n  a: {node: Nothing}\n",
    "cycle.yaml": b"latentloom: 1\nnodes:\n  a: {node: ImageInvert, image: $a.IMAGE}\n"
    b"  s: {node: SaveImage, images: $a.IMAGE}\n",
    "prefix.yaml": b"latentloom: 1\nnodes:\n  e: {node: LoadImage, image: inputs/house.png}\n"
    b"  s: {node: SaveImage, images: $e.IMAGE, filename_prefix: ../../out}\n",
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("command", ["run", "plan", "check"])
def test_a_bad_file_is_exit_code_1_and_one_plain_message(
    name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = BAD_FILES[name]
    if data is not None:
        (tmp_path / name).write_bytes(data)
    code, out, err = run(capsys, command, tmp_path / name, "--output", tmp_path / "o")
    assert (code, out) == (1, "")
    assert err.strip()
    assert "Traceback" not in err
    code, result = as_json(capsys, command, tmp_path / name, "--output", tmp_path / "o")
    assert (code, result["status"]) == (1, "failed")
    assert result["errors"][0]["message"]


@pytest.mark.parametrize(
    "changes",
    [
        ("--set", "nowhere.seed=1"),
        ("--input", "nothing=1"),
        ("--input", "size=many"),
        ("--input", "size=65"),
        ("--input", "photo=missing.png"),
        ("--set", "small.width=$x"),
        ("--set", "small.width=[1"),
        ("--set", "small.width=.nan"),
        ("--set", "small.width=[1, 2]"),
        ("--set", "small.width=99999999999999999999999"),
        ("--set", "small.crop=\udcff"),
        ("--set", "small.width=\udcff"),
        ("--set", "photo.image=\udcff"),
        ("--input", "photo=~nobody-of-this-name/a.png"),
        ("--input", "photo=/dev/null"),
        ("--input", "photo=."),
        ("--input", "photo=" + "a" * 300),
        ("--input", "photo=" + "a/" * 3000),
        ("--input", "photo="),
    ],
)
def test_a_wrong_change_is_exit_code_1(
    graph: Path, changes: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "run", graph, *changes)
    assert code == 1
    assert err.strip()
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("run", "img2imgg"),
            "no graph file img2imgg\n  try:     did you mean 'img2img'?",
        ),
        (("run", "graphs"), "graphs is a folder"),
        (("run", "img2img", "--set", f"sample.seed={2**64}"), "--set sample.seed: the number "),
        (("run", "img2img", "--input", "seed=[1"), "--input seed: not YAML"),
        (("run", "img2img", "--input", "denose=1"), "try:     did you mean 'denoise'?"),
        (("run", "img2img", "--set", "smple.seed=1"), "try:     did you mean 'sample'?"),
        (("run", "img2img", "--input", "photo=/gone.png"), "--input photo: no such file: /gone"),
        (("run", "img2img", "--set", "photo.image=/gone.png"), "--set photo.image: no such file"),
        (("convert", "img2img", "/gone/a.yaml"), "/gone: No such file or directory"),
        (
            ("check", "img2img", "--set", "model.ckpt_name=sd.ckpt"),
            "try:     put it into models/checkpoints\n",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_to_do(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 1
    assert said in err


@pytest.mark.parametrize("text", ["much", "-1", "nan", "1e9"])
def test_an_amount_of_memory_that_is_none_is_told_in_words(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    err = run(capsys, "run", "img2img", f"--vram={text}")[2]
    assert err.endswith(f"argument --vram: expected a number of GiB, 0 or more, got '{text}'\n")


@pytest.mark.torch
def test_an_output_folder_that_cannot_be_is_a_wrong_input(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "out"
    blocked.write_text("a file where the folder should be")
    code, result = as_json(capsys, "run", graph, "--output", blocked)
    assert (code, result["status"]) == (1, "failed")
    assert result["nodes"]["save"]["state"] == "failed"
    assert result["errors"][0]["node"] == "save"
    assert result["errors"][0]["message"].startswith(
        "SaveImage (save) .filename_prefix: expected a "
    )


def test_a_failing_node_is_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "installed_nodes", lambda: REGISTRY)
    path = tmp_path / "g.yaml"
    path.write_text(
        "latentloom: 1\nnodes:\n  start: {node: Number, value: 3}\n"
        "  broken: {node: Break, a: $start.INT}\n  lost: {node: Show, value: $broken.INT}\n"
        "  kept: {node: Show, value: $start.INT}\n"
    )
    code, _, err = run(capsys, "run", path)
    assert (code, "Traceback" in err) == (3, False)
    assert "Break (broken) failed: RuntimeError: broken by 3" in err
    code, result = as_json(capsys, "run", path)
    assert (code, result["status"]) == (3, "failed")
    states = {id: report["state"] for id, report in result["nodes"].items()}
    assert states == {"start": "ran", "broken": "failed", "lost": "skipped", "kept": "ran"}


def cli_process(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cli", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, **options)


@pytest.mark.parametrize("arguments", [("nodes",), ("nodes", "--json"), ("check", "img2img")])
def test_a_reader_that_goes_away_is_no_error(arguments: tuple[str, ...]) -> None:
    with cli_process(*arguments) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.close()
        assert (started.wait(60), started.stderr.read()) == (0, b"")


def test_an_encoding_that_lacks_a_letter_shows_its_code() -> None:
    with cli_process(
        "nodes", "SaveImage", env=os.environ | {"PYTHONIOENCODING": "ascii"}
    ) as started:
        out, err = started.communicate(timeout=60)
    assert (started.returncode, err) == (0, b"")
    assert rb"B\xd7H" in out


def test_names_that_are_no_text_are_shown_as_codes() -> None:
    with cli_process("check", os.fsdecode(b"\xff.yaml"), "--json") as started:
        out, err = started.communicate(timeout=60)
    assert (started.returncode, err) == (1, b"")
    assert json.loads(out)["errors"][0]["message"] == "there is no graph file \udcff.yaml"


def test_links_that_lead_to_each_other_are_a_missing_file(
    graph: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (graph.parent / "a.png").symlink_to("b.png")
    (graph.parent / "b.png").symlink_to("a.png")
    code, _, err = run(capsys, "check", graph, "--set", "photo.image=a.png")
    assert (code, "LoadImage (photo) .image" in err) == (1, True)


def test_a_graph_that_a_form_cannot_hold_is_not_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "g.yaml", tmp_path / "g.api.json"
    path.write_text("latentloom: 1\nnodes:\n  a: {node: ImageInvert, image: '${lost}'}\n")
    code, _, err = run(capsys, "convert", path, out)
    assert (code, "the graph has no input for ${lost}" in err) == (1, True)
    assert not out.exists()


def test_a_broken_file_of_extra_paths_is_reported_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = tmp_path / "extra_model_paths.yaml"
    paths.write_text("comfyui:\n\tloras: x\n")
    code, out, err = run(capsys, "models")
    assert (code, out, err.count("cannot be read")) == (1, "", 1)
    paths.write_text("comfyui:\n  base_path: /no/such/place\n  loras: loras\n")
    code, _, err = run(capsys, "models")
    assert (code, err.count("there is no folder /no/such/place/loras")) == (0, 1)


def test_closed_standard_streams_are_no_error(tmp_path: Path) -> None:
    command = f'exec "{sys.executable}" -m latentloom.cli nodes KSampler <&- >&- 2>&-'
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, timeout=120)
    assert done.returncode == 0


def test_check_warns_of_nodes_that_only_the_editor_has(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    nodes = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "3": {"class_type": "Bookmark (rgthree)", "inputs": {}},
    }
    path = tmp_path / "w.json"
    path.write_text(json.dumps(nodes))
    code, result = as_json(capsys, "check", path)
    assert (code, result["errors"]) == (0, [])
    assert [(warning["rule"], warning["node"]) for warning in result["warnings"]] == [
        ("unused", "3")
    ]
    nodes["2"]["inputs"] = {"images": ["3", 0]}
    path.write_text(json.dumps(nodes))
    assert as_json(capsys, "check", path)[0] == 1
