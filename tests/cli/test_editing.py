"""`edit` changes values and leaves comments, order and the rest of the file as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentloom.engine.formats import parse_graph
from latentloom.engine.formats.editing import edit_yaml
from tests.cli.commands import GRAPHS, as_json, run

FILE = """\
# Of the whole file.
latentloom: 1
inputs:
  size: {type: int, default: 24}   # of the small image
  sizes: {type: int, default: [8, 16]}
parts:
  scale:
    inputs: {image: {}, width: 8, height: 8}
    nodes:
      small: {node: ImageScale, image: '${image}', upscale_method: area, width: '${width}', height: '${height}', crop: disabled}
    outputs: {image: $small.IMAGE}
nodes:
  # The source.
  photo: {node: LoadImage, image: inputs/house.png}
  small:  # a comment
    node: ImageScale
    image: $photo.IMAGE
    upscale_method: area   # smooth
    width: ${size}
    height: 16
    crop: disabled
  pass: {repeat: scale, over: {width: '${sizes}', height: {from: 4}}, carry: image, image: $small.IMAGE}
  use: {part: scale, image: $pass.image}
  save: {node: SaveImage, images: $use.image}  # the end
"""  # noqa: E501


@pytest.mark.parametrize(
    ("option", "old", "new"),
    [
        ("--set small.height=20", "height: 16", "height: 20"),
        ("--set small.width=9", "width: ${size}", "width: 9"),
        ("--set small.upscale_method=lanczos", "area   # smooth", "lanczos   # smooth"),
        ("--set pass2.width=5", "default: [8, 16]", "default: [8, 5]"),
        ("--set pass2.height=9", "{from: 4}", "[4, 9]"),
        ("--set use.width=7", "image: $pass.image}", "image: $pass.image, width: 7}"),
        ("--input size=30", "default: 24", "default: 30"),
        ("--input sizes=1,2,3", "[8, 16]", "[1, 2, 3]"),
        (
            "--set save.filename_prefix=a:b",
            "images: $use.image}",
            "images: $use.image, filename_prefix: 'a:b'}",
        ),
    ],
)
def test_only_the_value_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, old: str, new: str
) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text(FILE)
    code, out, err = run(capsys, "edit", path, *option.split(), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["changes"] != []
    assert path.read_text() == FILE.replace(old, new)


def test_a_wrong_change_leaves_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text(FILE)
    for change, message in (
        ("small.heigth=20", "did you mean 'height'"),
        ("small.height=-1", "from 0 to"),
        ("smal.height=1", "did you mean"),
        ("pass2.image=$photo.IMAGE", "it is the output of the pass before it"),
    ):
        code, out, err = run(capsys, "edit", path, "--set", change)
        assert (code, out, message in err) == (1, "", True), err
    assert path.read_text() == FILE


@pytest.mark.parametrize("name", ["graph.json", "graph.api.json"])
def test_json_is_edited_too(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = tmp_path / name
    assert run(capsys, "convert", GRAPHS / "multi_pass.yaml", path)[0] == 0
    assert run(capsys, "edit", path, "--set", "pass2.denoise=0.45")[0] == 0
    assert "0.45" in path.read_text()
    assert as_json(capsys, "check", path)[0] == 0


VALUES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20),
    st.integers(-5, 5),
    st.booleans(),
)


@given(VALUES, st.sampled_from(["small.height", "small.other", "save.images", "use.width"]))
def test_any_value_is_read_back(value: str | int, target: str) -> None:
    graph = parse_graph(FILE)
    changed = parse_graph(edit_yaml(FILE, graph, {target: value}))
    assert changed.nodes == graph.set(target, value).nodes
    assert "# Of the whole file." in edit_yaml(FILE, graph, {target: value})
