"""The command line: results, exit codes, and no traceback for any mistake."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import cli
from tests.engine.fakes import REGISTRY

ROOT = Path(__file__).parent.parent.parent
GRAPHS = ROOT / "graphs"

GRADIENT = """\
latentloom: 1
inputs:
  photo: {type: image, default: inputs/house.png}
  size: {type: int, default: 24, min: 1, max: 64}
nodes:
  photo: {node: LoadImage, image: '${photo}'}
  small: {node: ImageScale, image: $photo.IMAGE, upscale_method: area, width: '${size}', height: 16, crop: disabled}
  invert: {node: ImageInvert, image: $small.IMAGE}
  save: {node: SaveImage, images: $invert.IMAGE, filename_prefix: small}
"""  # noqa: E501


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph that needs no model, and its own folder for inputs and outputs."""
    path = tmp_path / "graph.yaml"
    path.write_text(GRADIENT)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(capsys, *arguments, "--json")
    found: dict[str, Any] = json.loads(out)
    return code, found


def size(printed: str) -> tuple[int, int]:
    with Image.open(printed.strip()) as picture:
        return picture.size


def pixels(printed: str) -> bytes:
    with Image.open(printed.strip()) as picture:
        return picture.tobytes()


def test_run_writes_the_picture_and_says_where(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "run", graph, "--output", tmp_path / "out")
    assert code == 0
    assert out == f"{tmp_path}/out/small_00001_.png\n"
    assert "save: ran in" in err
    assert size(out) == (24, 16)


def test_run_prints_one_json_object(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = as_json(capsys, "run", graph, "--output", tmp_path)
    assert code == 0
    assert list(found) == ["status", "nodes", "outputs", "model_calls", "seconds", "errors"]
    assert found["status"] == "done"
    assert set(found["nodes"]["invert"]) == {"type", "state", "from", "why", "seconds"}
    assert found["nodes"]["invert"]["state"] == "ran"
    assert found["nodes"]["invert"]["why"] == "never run"
    assert found["outputs"] == [{"node": "save", "path": f"{tmp_path}/small_00001_.png"}]
    assert (found["model_calls"], found["errors"]) == (0, [])


def test_a_second_run_never_overwrites(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "run", graph, "--output", tmp_path)
    _, out, _ = run(capsys, "run", graph, "--output", tmp_path)
    assert out.endswith("small_00002_.png\n")


def test_a_saved_picture_can_be_run_again(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, first, _ = run(capsys, "run", graph, "--output", tmp_path)
    code, second, _ = run(capsys, "run", first.strip(), "--output", tmp_path / "again")
    assert code == 0
    assert pixels(first) == pixels(second)
    changed = run(capsys, "run", first.strip(), "--output", tmp_path, "--input", "size=9")[1]
    assert size(changed) == (9, 16)


def test_set_and_input_change_values(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ("--set", "small.height=8", "--input", "size=10")
    _, out, _ = run(capsys, "run", graph, "--output", tmp_path, *changes)
    assert size(out) == (10, 8)


def test_an_input_picture_may_be_anywhere(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere" / "red.png"
    elsewhere.parent.mkdir()
    Image.new("RGB", (20, 20), (255, 0, 0)).save(elsewhere)
    code, out, _ = run(capsys, "run", graph, "--output", tmp_path, "--input", f"photo={elsewhere}")
    assert code == 0
    assert pixels(out)[:3] == bytes((0, 255, 255))
    # Nobody who gets the picture learns where on this machine its source lay.
    assert str(tmp_path).encode() not in Path(out.strip()).read_bytes()


def test_a_path_inside_a_graph_may_not_leave_its_folders(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    inner = tmp_path / "sub" / "graph.yaml"
    inner.parent.mkdir()
    inner.write_text(GRADIENT.replace("inputs/house.png", "../secret.png"))
    code, _, err = run(capsys, "run", inner, "--output", tmp_path)
    assert code == 1
    assert "LoadImage (photo) .image" in err
    assert "leaves its folder" in err


def test_plan_says_what_would_run(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "plan", graph)
    assert code == 0
    assert "never run" in out
    assert "4 run, 0 reused, 0 skipped" in out
    code, found = as_json(capsys, "plan", graph)
    assert found["nodes"]["save"] == {
        "type": "SaveImage",
        "state": "run",
        "from": None,
        "why": "never run",
    }


def test_check_lists_all_problems(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ("--set", "small.width=-1", "--set", "small.crop=middle", "--set", "save.x=1")
    code, _, err = run(capsys, "check", graph, *changes)
    assert code == 1
    assert err.endswith("3 problems\n")
    code, found = as_json(capsys, "check", graph, *changes)
    kinds = {problem["kind"] for problem in found["errors"]}
    assert kinds == {"out_of_range", "not_in_list", "unknown_input"}


def test_nodes_lists_and_describes(capsys: pytest.CaptureFixture[str]) -> None:
    _, listing, _ = run(capsys, "nodes")
    assert "KSampler" in listing
    _, one, _ = run(capsys, "nodes", "KSampler")
    assert "0 to 18446744073709551615" in one
    code, found = as_json(capsys, "nodes", "KSampler")
    assert found["inputs"]["denoise"]["max"] == 1.0
    code, _, err = run(capsys, "nodes", "KSmpler")
    assert (code, "did you mean KSampler" in err) == (1, True)


@pytest.mark.parametrize("name", ["a.json", "a.api.json", "a.yaml"])
def test_convert_goes_there_and_back(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run(capsys, "convert", graph, tmp_path / name)[0] == 0
    code, _, _ = run(capsys, "check", tmp_path / name)
    assert code == 0
    assert run(capsys, "convert", graph, tmp_path / name)[0] == 1
    assert run(capsys, "convert", graph, tmp_path / name, "--force")[0] == 0


def test_models_lists_the_shipped_one(capsys: pytest.CaptureFixture[str]) -> None:
    _, found = as_json(capsys, "models")
    assert {"checkpoints", "vae"} <= {m["kind"] for m in found["models"] if m["name"] == "demo"}


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
    "wrong.png": b"not a picture",
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
    code, found = as_json(capsys, command, tmp_path / name, "--output", tmp_path / "o")
    assert (code, found["status"]) == (1, "failed")
    assert found["errors"][0]["message"]


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


def test_an_output_folder_that_cannot_be_is_a_wrong_input(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "out"
    blocked.write_text("a file where the folder should be")
    code, found = as_json(capsys, "run", graph, "--output", blocked)
    assert (code, found["status"]) == (1, "failed")
    assert found["nodes"]["save"]["state"] == "failed"
    assert found["errors"][0]["node"] == "save"


def test_a_failing_node_is_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_registry", lambda: REGISTRY)
    path = tmp_path / "g.yaml"
    path.write_text(
        "latentloom: 1\nnodes:\n  start: {node: Number, value: 3}\n"
        "  broken: {node: Break, a: $start.INT}\n  lost: {node: Show, value: $broken.INT}\n"
        "  kept: {node: Show, value: $start.INT}\n"
    )
    code, _, err = run(capsys, "run", path)
    assert (code, "Traceback" in err) == (3, False)
    assert "Break (broken) failed: RuntimeError: broken by 3" in err
    code, found = as_json(capsys, "run", path)
    assert (code, found["status"]) == (3, "failed")
    states = {id: report["state"] for id, report in found["nodes"].items()}
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
    assert (code, "${lost} is no input of the graph" in err) == (1, True)
    assert not out.exists()


def test_a_terminal_gets_bars_on_stderr_and_paths_on_stdout(graph: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "cli", "run", str(graph), "--output", str(tmp_path / "o")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs) as started:
        os.close(theirs)
        assert started.stdout is not None
        shown = read_terminal(ours)
        assert started.stdout.read().decode() == f"{tmp_path}/o/small_00001_.png\n"
        assert started.wait(60) == 0
    assert "small (ImageScale)" in shown
    assert "invert: ran in" in shown
    assert "\x1b[" in shown


def read_terminal(descriptor: int) -> str:
    """All that is written to a terminal until its writer closes it."""
    found = b""
    with contextlib.suppress(OSError):
        while data := os.read(descriptor, 4096):
            found += data
    os.close(descriptor)
    return found.decode()


def test_ctrl_c_cancels_with_130(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "cli", "run", str(GRAPHS / "txt2img.yaml"),
        "--set", "sample.steps=2000", "--output", str(tmp_path / "out"),
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        while not started.stderr.readline().startswith("sample: step 200"):
            assert started.poll() is None
        started.send_signal(signal.SIGINT)
        rest = started.stderr.read()
        assert started.wait(60) == 130, rest
        assert "sample: cancelled" in rest
        assert "sample: step 2000" not in rest
        assert started.stdout.read() == ""
    assert not (tmp_path / "out").exists()
