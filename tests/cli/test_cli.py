"""The command line: results, exit codes, what a terminal sees."""

from __future__ import annotations

import contextlib
import errno
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.commands import GRADIENT, GRAPHS, as_json, pixels, run, size
from tests.paths import ROOT


@pytest.mark.torch
def test_run_writes_the_image_and_says_where(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "run", graph, "--output", tmp_path / "out")
    assert code == 0
    assert out == f"{tmp_path}/out/small_00001_.png\n"
    assert "save: ran in" in err
    assert out.strip() not in err
    assert size(out) == (24, 16)


@pytest.mark.torch
def test_run_prints_one_json_object(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = as_json(capsys, "run", graph, "--output", tmp_path)
    assert code == 0
    assert list(result) == ["status", "nodes", "outputs", "model_calls", "seconds", "errors"]
    assert result["status"] == "done"
    assert set(result["nodes"]["invert"]) == {
        "type", "state", "from", "why", "reason", "seconds",
    }  # fmt: skip
    assert result["nodes"]["invert"]["state"] == "ran"
    assert result["nodes"]["invert"]["why"] == "never run"
    assert result["outputs"] == [{"node": "save", "path": f"{tmp_path}/small_00001_.png"}]
    assert (result["model_calls"], result["errors"]) == (0, [])


@pytest.mark.torch
def test_a_second_run_never_overwrites(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "run", graph, "--output", tmp_path)
    _, out, _ = run(capsys, "run", graph, "--output", tmp_path)
    assert out.endswith("small_00002_.png\n")


@pytest.mark.torch
def test_a_node_whose_name_is_a_number_is_shown_with_its_type(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = tmp_path / "numbers.yaml"
    renamed.write_text(GRADIENT.replace("$small.", "$3.").replace("  small:", "  '3':"))
    err = run(capsys, "run", renamed, "--output", tmp_path)[2]
    assert "\nImageScale (3): ran in" in err


@pytest.mark.torch
def test_set_takes_an_image_from_anywhere_as_input_does(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir()
    photo = tmp_path / "home" / "me.png"
    Image.new("RGB", (8, 8), "red").save(photo)
    for change in ("--set", f"photo.image={photo}"), ("--input", f"photo={photo}"):
        code, out, _ = run(capsys, "run", graph, *change, "--output", tmp_path / "o")
        assert (code, pixels(out)[:3]) == (0, bytes((0, 255, 255)))


def test_a_converted_file_is_whole_or_the_old_one_stays(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "kept.json"
    target.write_text("mine")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run(capsys, "convert", graph, target, "--force")
    assert (code, target.read_text(), "No space left" in err) == (1, "mine", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph.yaml", "kept.json"]


@pytest.mark.torch
def test_a_saved_image_can_be_run_again(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, first, _ = run(capsys, "run", graph, "--output", tmp_path)
    code, second, _ = run(capsys, "run", first.strip(), "--output", tmp_path / "again")
    assert code == 0
    assert pixels(first) == pixels(second)
    changed = run(capsys, "run", first.strip(), "--output", tmp_path, "--input", "size=9")[1]
    assert size(changed) == (9, 16)


@pytest.mark.torch
def test_set_and_input_change_values(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ("--set", "small.height=8", "--input", "size=10")
    _, out, _ = run(capsys, "run", graph, "--output", tmp_path, *changes)
    assert size(out) == (10, 8)


@pytest.mark.torch
def test_an_input_image_may_be_anywhere(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere" / "red.png"
    elsewhere.parent.mkdir()
    Image.new("RGB", (20, 20), (255, 0, 0)).save(elsewhere)
    code, out, _ = run(capsys, "run", graph, "--output", tmp_path, "--input", f"photo={elsewhere}")
    assert code == 0
    assert pixels(out)[:3] == bytes((0, 255, 255))
    # Nobody who gets the image learns where on this machine its source lay.
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
    code, result = as_json(capsys, "plan", graph)
    assert result["nodes"]["save"] == {
        "type": "SaveImage",
        "state": "run",
        "from": None,
        "why": "never run",
        "reason": {"kind": "never_run"},
        "seconds": None,
    }


def test_check_lists_all_problems(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ("--set", "small.width=-1", "--set", "small.crop=middle", "--set", "save.x=1")
    code, _, err = run(capsys, "check", graph, *changes)
    assert code == 1
    assert err.endswith("3 problems\n")
    code, result = as_json(capsys, "check", graph, *changes)
    kinds = {problem["kind"] for problem in result["errors"]}
    assert kinds == {"out_of_range", "not_in_list", "unknown_input"}


@pytest.mark.parametrize(
    ("option", "note"),
    [
        ("off", "networks run eagerly: fast networks are off"),
        ("auto", "networks run fast on the GPU: fused kernels, calls captured from the second on"),
    ],
)
def test_plan_says_how_networks_run_on_a_gpu(
    graph: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    note: str,
) -> None:
    monkeypatch.setenv("LATENTLOOM_FAST", "")
    monkeypatch.setattr("latentloom.nodes.codecs.has_driver", lambda: True)
    monkeypatch.setattr("latentloom.diffusion.networks.fast.setting.find_spec", lambda _: object())
    assert run(capsys, "plan", graph, "--fast", option)[1].splitlines()[-1] == note
    assert as_json(capsys, "plan", graph, "--fast", option)[1]["notes"] == [note]
    monkeypatch.setattr("latentloom.nodes.codecs.has_driver", lambda: False)
    assert as_json(capsys, "plan", graph, "--fast", option)[1]["notes"] == []


def test_plan_and_check_add_warnings_and_do_not_fail_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("check", "plan"):
        code, out, _ = run(capsys, command, "img2img", "--set", "sample.denoise=1")
        assert code == 0
        assert "warning (source-ignored): KSampler (sample) .denoise: denoise 1 ignores" in out
        code, result = as_json(capsys, command, "img2img", "--set", "sample.denoise=1")
        assert code == 0
        assert [item["rule"] for item in result["warnings"]] == ["source-ignored"]
        _, out, _ = run(capsys, command, "img2img")
        assert "warnings" not in out


def test_nodes_lists_and_describes(capsys: pytest.CaptureFixture[str]) -> None:
    _, listing, _ = run(capsys, "nodes")
    assert "KSampler" in listing
    _, one, _ = run(capsys, "nodes", "KSampler")
    assert "0 to 18446744073709551615" in one
    code, result = as_json(capsys, "nodes", "KSampler")
    assert result["inputs"]["denoise"]["max"] == 1.0
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


def test_the_table_of_nodes_fits_a_terminal_but_for_long_lists_of_inputs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    head, *rows = run(capsys, "nodes")[1].splitlines()
    assert head.split() == ["node", "category", "outputs", "inputs"]
    assert head.index("inputs") < 140
    assert any(row.startswith("KSampler ") and row.endswith(" denoise") for row in rows)


def test_models_lists_the_shipped_one(capsys: pytest.CaptureFixture[str]) -> None:
    _, result = as_json(capsys, "models")
    assert {"checkpoints", "vae"} <= {m["kind"] for m in result["models"] if m["name"] == "demo"}


def test_models_are_listed_with_what_they_are(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTLOOM_MODELS", str(tmp_path))
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "cut.safetensors").write_bytes(b"PK")
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "embeddings" / "old.pt").write_bytes(b"no weights")
    _, result = as_json(capsys, "models")
    entries = {(entry["kind"], entry["name"]): entry for entry in result["models"]}
    demo = entries["checkpoints", "demo"]
    assert (demo["holds"], demo["precision"], len(demo["hash"])) == ("checkpoint", "fp16", 64)
    assert demo["size"] > 1_000_000
    assert "torch's two formats" in entries["embeddings", "old.pt"]["broken"]
    assert "not a safetensors file" in entries["loras", "cut.safetensors"]["broken"]
    code, out, _ = run(capsys, "models")
    assert (code, out.splitlines()[0].split()) == (
        0, ["kind", "name", "family", "precision", "size", "hash", "path"],
    )  # fmt: skip
    assert "broken: " in out


@pytest.mark.torch
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
    result = b""
    with contextlib.suppress(OSError):
        while data := os.read(descriptor, 4096):
            result += data
    os.close(descriptor)
    return result.decode()


@pytest.mark.torch
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
        assert "cancelling after" in rest
        assert "sample: cancelled" in rest
        assert "sample: step 2000" not in rest
        assert started.stdout.read() == ""
    assert not (tmp_path / "out").exists()


def test_a_list_on_the_command_line_sets_the_number_of_passes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, plan = as_json(capsys, "plan", "multi_pass", "--input", "denoise=0.7, 0.4")
    assert code == 0
    assert [id for id, n in plan["nodes"].items() if n["type"] == "KSampler"] == ["pass1", "pass2"]
    code, problems = as_json(capsys, "check", "multi_pass", "--input", "denoise=0.7,1.4")
    assert (code, [e["input"] for e in problems["errors"]]) == (1, ["denoise"])
    code, plan = as_json(capsys, "plan", "multi_pass", "--set", "pass2.seed=5")
    assert code == 0
    assert run(capsys, "plan", "multi_pass", "--input", "denoise=")[0] == 1
