"""`latentloom batch`: a folder through one graph, stopped, gone on with, and left as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import latentloom
from latentloom.engine.errors import GraphError
from latentloom.engine.execution.batch import PROGRESS_FILE, BatchSource, list_folder, run_folder
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.node.cancel import CancelToken
from tests.cli.commands import as_json, run

GRAPH = """\
latentloom: 1
inputs:
  photo: {type: image, default: none.png}
  name: {type: string, default: result}
  size: {type: int, default: 6, min: 1}
nodes:
  photo: {node: LoadImage, image: '${photo}'}
  small: {node: ImageScaleToMaxDimension, image: $photo.IMAGE, largest_size: '${size}'}
  save: {node: SaveImage, images: $small.IMAGE, filename_prefix: '${name}'}
"""


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph.yaml"
    path.write_text(GRAPH)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    for index, name in enumerate(("a.png", "b.JPG", "c.webp")):
        Image.new("RGB", (20, 10 + index), (40 * index, 90, 20)).save(made / name)
    (made / "notes.txt").write_text("no image")
    (made / ".hidden.png").write_bytes(b"")
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != PROGRESS_FILE)


@pytest.mark.torch
def test_each_image_is_run_once_and_named_after_itself(
    graph: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    code, out, err = run(capsys, "batch", graph, folder, "--output", tmp_path / "out")
    assert code == 0
    expected = ["a_00001_.png", "b_00001_.png", "c_00001_.png"]
    assert out.splitlines() == [f"{tmp_path}/out/{name}" for name in expected]
    assert "2 of 3: b.JPG: done" in err
    assert names(tmp_path / "out") == expected
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.torch
def test_what_is_done_is_not_done_again(
    graph: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(capsys, "batch", graph, folder, "--output", out)
    (out / "b_00001_.png").unlink()
    _, result = as_json(capsys, "batch", graph, folder, "--output", out)
    assert [turn["state"] for turn in result["images"]] == ["skipped", "ran", "skipped"]
    assert names(out) == ["a_00001_.png", "b_00001_.png", "c_00001_.png"]


@pytest.mark.torch
@pytest.mark.parametrize("change", ["graph", "image"])
def test_what_changed_is_run_anew_and_replaces_nothing(
    change: str, graph: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(capsys, "batch", graph, folder, "--output", out)
    options = ["--input", "size=3"] if change == "graph" else []
    if change == "image":
        Image.new("RGB", (5, 5), (1, 2, 3)).save(folder / "a.png")
    _, result = as_json(capsys, "batch", graph, folder, "--output", out, *options)
    states = [turn["state"] for turn in result["images"]]
    assert states == (["ran"] * 3 if change == "graph" else ["ran", "skipped", "skipped"])
    assert {"a_00001_.png", "a_00002_.png"} <= set(names(out))


@pytest.mark.torch
def test_a_stopped_run_goes_on_where_it_was(graph: Path, folder: Path, tmp_path: Path) -> None:
    loaded, token = latentloom.load(graph), CancelToken()
    path = Workspace(output_dir=tmp_path / "out")
    with Engine(latentloom.registry()) as engine:
        turns = []
        for turn in run_folder(engine, loaded, path, BatchSource(folder), cancel=token):
            turns.append(turn)
            token.cancel()
        assert [turn.image.name for turn in turns] == ["a.png"]
        with (tmp_path / "out" / PROGRESS_FILE).open("a") as progress:
            progress.write('{"key": "torn by a cra')
        rest = list(run_folder(engine, loaded, path, BatchSource(folder)))
        assert [turn.state for turn in rest] == ["skipped", "ran", "ran"]
        last = list(run_folder(engine, loaded, path, BatchSource(folder)))
        assert [turn.state for turn in last] == ["skipped"] * 3


@pytest.mark.torch
def test_a_damaged_image_fails_alone(
    graph: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "b.JPG").write_bytes(b"\xff\xd8\xff but no image")
    code, result = as_json(capsys, "batch", graph, folder, "--output", tmp_path / "out")
    assert code == 3
    assert [turn["state"] for turn in result["images"]] == ["ran", "failed", "ran"]
    assert result["images"][1]["errors"][0]["type"] == "LoadImage"


@pytest.mark.torch
def test_the_end_names_what_failed_and_what_was_passed_over(
    graph: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "b.JPG").write_bytes(b"broken")
    (folder / "sub").mkdir()
    code, _, err = run(capsys, "batch", graph, folder, "--output", tmp_path / "out")
    lines = err.splitlines()[-4:]
    assert (code, lines[0]) == (3, "3 in all: 2 done, 1 failed")
    assert lines[1].startswith("failed: b.JPG: LoadImage (photo) .image: expected")
    assert lines[2] == "not images, passed over: notes.txt"
    assert lines[3] == "subfolders, passed over: sub/; --recursive takes their images too"


@pytest.mark.torch
def test_recursive_takes_subfolders_and_leaves_out_results(
    graph: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("sub/deep/a.png", "sub/.hidden/b.png"):
        (folder / name).parent.mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(folder / name)
    (folder / "link").symlink_to(folder / "sub")
    options = ("--recursive", "--output", folder / "out")
    code, outcome = as_json(capsys, "batch", graph, folder, *options)
    assert (code, outcome["of"], outcome["passed_over"]) == (0, 4, ["link/", "notes.txt"])
    assert (folder / "out" / "sub" / "deep" / "a_00001_.png").is_file()
    code, again = as_json(capsys, "batch", graph, folder, *options)
    assert [turn["state"] for turn in again["images"]] == ["skipped"] * 4


@pytest.mark.torch
def test_a_batch_holds_the_outputs_of_its_last_image_only(
    graph: Path, folder: Path, tmp_path: Path
) -> None:
    with Engine(latentloom.registry()) as engine:
        workspace = Workspace(output_dir=tmp_path / "out")
        turns = run_folder(engine, latentloom.load(graph), workspace, BatchSource(folder))
        assert [len(engine.cache) for _ in turns] == [3, 3, 3]
        assert (len(engine.cache), engine.cache.nbytes) == (0, 0)


def test_the_end_of_a_batch_returns_memory(
    graph: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(
        "latentloom.engine.execution.item_memory.release_memory", lambda: calls.append(1)
    )
    with Engine(latentloom.registry()) as engine:
        workspace = Workspace(output_dir=tmp_path / "out")
        items = list(run_folder(engine, latentloom.load(graph), workspace, BatchSource(folder)))
    assert (len(items), calls) == (3, [1])


def test_the_folder_itself_is_no_output_folder(
    graph: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "batch", graph, folder, "--output", folder)
    assert code == 1
    assert "an output folder other than the images'" in err


@pytest.mark.parametrize(
    ("image_input", "more", "said"),
    [
        ("size", "", "expected an input that takes an image: photo, got size"),
        ("", "  other: {type: image, default: none.png}\n", "photo, other, got none chosen"),
    ],
)
def test_the_input_of_the_images_must_be_clear(
    image_input: str, more: str, said: str, folder: Path, tmp_path: Path
) -> None:
    graph = latentloom.loads(GRAPH.replace("nodes:", f"{more}nodes:"))
    source, workspace = BatchSource(folder, image_input), Workspace(output_dir=tmp_path / "o")
    with Engine(latentloom.registry()) as engine, pytest.raises(GraphError, match=said):
        list(run_folder(engine, graph, workspace, source))


@pytest.mark.torch
def test_a_workflow_of_comfyuis_takes_images_at_a_node(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def loads(id: str, count: int) -> dict[str, object]:
        nodes = {
            str(n): {"class_type": "LoadImage", "inputs": {"image": "a"}} for n in range(count)
        }
        save = {"class_type": "SaveImage", "inputs": {"images": [id, 0]}}
        return {**nodes, "9": save}

    one, two = tmp_path / "one.json", tmp_path / "two.json"
    one.write_text(json.dumps(loads("0", 1)))
    two.write_text(json.dumps(loads("1", 2)))
    assert run(capsys, "batch", one, folder, "--output", tmp_path / "o")[0] == 0
    assert len(names(tmp_path / "o")) == 3
    code, _, err = run(capsys, "batch", two, folder, "--output", tmp_path / "p")
    assert (code, "0.image, 1.image, got none chosen" in err, "--image-input" in err) == (
        1,
        True,
        True,
    )
    assert (
        run(capsys, "batch", two, folder, "--image-input", "1.image", "--output", tmp_path / "p")[0]
        == 0
    )
    assert len(names(tmp_path / "p")) == 3


def test_a_folder_without_images_is_said_to_have_none(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    code, out, err = run(capsys, "batch", graph, tmp_path / "empty", "--output", tmp_path / "o")
    assert (code, out) == (0, "")
    assert "no PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC images" in err


def test_a_missing_folder_is_said_to_be_missing(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "batch", graph, tmp_path / "nowhere", "--output", tmp_path)
    assert code == 1
    assert "nowhere" in err
    assert "Traceback" not in err


@pytest.mark.torch
@pytest.mark.parametrize("name", ["d.gif", "d.bmp", "d.tif"])
def test_a_batch_takes_every_format(
    name: str, graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (20, 10), (40, 90, 20)).save(tmp_path / "images" / name)
    assert run(capsys, "batch", graph, tmp_path / "images", "--output", tmp_path / "o")[0] == 0
    assert names(tmp_path / "o") == ["d_00001_.png"]


def test_images_come_by_name(folder: Path) -> None:
    assert [path.name for path in list_folder(BatchSource(folder)).images] == [
        "a.png",
        "b.JPG",
        "c.webp",
    ]


@pytest.mark.torch
def test_the_progress_file_names_files_relative_to_itself(
    graph: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "batch", graph, folder, "--output", tmp_path / "out")
    lines = (tmp_path / "out" / PROGRESS_FILE).read_text().splitlines()
    assert json.loads(lines[0])["saved"] == ["a_00001_.png"]
    moved = (tmp_path / "out").rename(tmp_path / "elsewhere")
    assert moved.is_dir()
