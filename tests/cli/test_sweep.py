"""`latentloom sweep`: axes from text, and results as files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from latentloom.console.axes import parse_replacement, parse_values
from latentloom.engine.errors import FormatError
from tests.cli.commands import as_json, run


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.3:0.8:0.1", ("0.3", "0.4", "0.5", "0.6", "0.7", "0.8")),
        ("1:3", ("1", "2", "3")),
        ("3:1:-1", ("3", "2", "1")),
        ("1:2:0.3", ("1.0", "1.3", "1.6", "1.9")),
        ("a, b,c", ("a", "b", "c")),
        ('red,"a, b"', ("red", "a, b")),
        ("16:9", None),
        ("euler", ("euler",)),
    ],
)
def test_values_of_an_axis(text: str, values: tuple[str, ...] | None) -> None:
    if values is None:
        with pytest.raises(FormatError, match="a step that leads from 16 to 9"):
            parse_values("--over x", text)
    else:
        assert parse_values("--over x", text) == values


def test_values_from_files(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("one\n\n two \n")
    (tmp_path / "table.csv").write_text("name,prompt\na,x\nb,y\n")
    assert parse_values("p", f"@{tmp_path}/lines.txt") == ("one", "two")
    assert parse_values("p", f"@{tmp_path}/table.csv:prompt") == ("x", "y")
    files = parse_values("p", f"{tmp_path}/*.txt")
    assert files == (str(tmp_path / "lines.txt"),)
    with pytest.raises(FormatError, match="one of the columns name, prompt, got size"):
        parse_values("p", f"@{tmp_path}/table.csv:size")
    with pytest.raises(FormatError, match="cannot be read"):
        parse_values("p", f"@{tmp_path}/missing.txt")


@pytest.mark.parametrize(
    "text", ["1:2:0", "1:nan", "0:1e9:1e-9", "0:1e999999", "0:1:1e-999999", "@a\0", "\0/*", "no/*"]
)
def test_what_is_no_axis_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="--over x"):
        parse_values("--over x", text)


@given(st.text(max_size=30))
def test_any_text_is_values_or_a_typed_error(text: str) -> None:
    try:
        values = parse_values("--over x", text)
    except FormatError as error:
        values = (str(error).partition("--over x")[1],)
    assert all(isinstance(value, str) for value in values)


@pytest.mark.parametrize("text", ["a**b", "[*", "**"])
def test_patterns_of_any_form_match_names(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-b").touch()
    assert parse_values("--over x", text) in ((), ("a-b",))


def test_a_replacement_names_what_it_replaces() -> None:
    assert parse_replacement("prompt:house", "castle,barn").values == ("castle", "barn")
    with pytest.raises(FormatError, match="expected INPUT:TEXT=VALUES"):
        parse_replacement("prompt", "castle")


def test_a_sweep_writes_its_table_and_its_page(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    options = ("--over", "size=8,16", "--over", "small.height=8,12", "--output", output)
    code, outcome = as_json(capsys, "sweep", graph, *options)
    assert (code, outcome["of"]) == (0, 4)
    with (output / "sweep.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["size"], row["small.height"]) for row in rows] == [
        ("8", "8"), ("8", "12"), ("16", "8"), ("16", "12"),
    ]  # fmt: skip
    assert rows[0]["file"] == "small_size=8,height=8_00001_.png"
    assert (output / rows[3]["file"]).is_file()
    cells = json.loads((output / "sweep.json").read_text())["cells"]
    assert [cell["state"] for cell in cells] == ["ran"] * 4
    page = (output / "sweep.html").read_text()
    assert page.count("<img src='data:image/png;base64,") == 4
    with Image.open(output / "sweep.png") as sheet:
        assert min(sheet.size) > 2 * 160
    assert "size 16, small.height 12" in page
    assert as_json(capsys, "sweep", graph, *options)[1]["cells"][0]["state"] == "skipped"


def test_a_plan_over_axes(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "plan", graph, "--over", "size=8,16")
    assert code == 0
    assert out.startswith("2 cells: 7 nodes run")
    assert as_json(capsys, "plan", graph, "--over", "size=8,16")[1]["unshared_nodes"] == 8


def test_a_failed_cell_is_marked(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    code, _, err = run(capsys, "sweep", graph, "--over", "size=8,999", "--output", output)
    assert code == 3
    assert "2 in all: 1 done, 1 failed" in err
    assert "failed: size=999: " in err
    assert "<figure class=failed" in (output / "sweep.html").read_text()


SCORED = """\
latentloom: 1
inputs:
  shade: {type: float, default: 0.5}
nodes:
  white: {node: EmptyImage, width: 32, height: 32, color: 16777215}
  mask: {node: SolidMask, value: "${shade}", width: 32, height: 32}
  grey: {node: MaskToImage, mask: $mask.MASK}
  change: {node: ImageDifference, image1: $white.IMAGE, image2: $grey.IMAGE}
"""


@pytest.mark.torch
def test_scores_are_columns_and_rank_the_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, output = tmp_path / "graph.yaml", tmp_path / "out"
    graph.write_text(SCORED)
    options = ("--over", "shade=0.2,0.9,0.5", "--best=-change.delta_e", "--output", output)
    code, _, err = run(capsys, "sweep", graph, *options)
    assert code == 0
    assert [line[:18] for line in err.splitlines()[-3:]] == [
        "best 1: shade=0.9:", "best 2: shade=0.5:", "best 3: shade=0.2:",
    ]  # fmt: skip
    with (output / "sweep.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["shade"] for row in rows] == ["0.2", "0.9", "0.5"]
    assert [float(row["value"]) for row in rows] == [-float(row["change.delta_e"]) for row in rows]
    manifest = json.loads((output / "sweep.json").read_text())
    assert manifest["best"]["cells"][0] == {"shade": "0.9"}
    assert manifest["cells"][0]["scores"].keys() == {"change.psnr", "change.ssim", "change.delta_e"}
    again = as_json(capsys, "sweep", graph, *options)[1]
    assert [cell["state"] for cell in again["cells"]] == ["skipped"] * 3
    assert [cell["scores"] for cell in again["cells"]] == [
        cell["scores"] for cell in manifest["cells"]
    ]


def test_an_unknown_score_is_refused(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "sweep", graph, "--over", "size=8", "--best", "a.b")
    assert (code, "expected a score of: none" in err) == (1, True)


def test_an_unknown_input_is_refused(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "sweep", graph, "--over", "sizes=8,16")
    assert code == 1
    assert "sizes" in err
    assert "size" in err


SWEPT = """\
latentloom: 1
# the comment stays
inputs:
  shade: {type: float, default: 0.5}
nodes:
  mask: {node: SolidMask, value: "${shade}", width: 16, height: 16}
  grey: {node: MaskToImage, mask: $mask.MASK}
  save: {node: SaveImage, images: $grey.IMAGE}
sweep:
  over:
    shade: [0.25, 1]
"""


@pytest.mark.torch
def test_a_file_has_its_own_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, output = tmp_path / "graph.yaml", tmp_path / "out"
    graph.write_text(SWEPT)
    outcome = as_json(capsys, "sweep", graph, "--output", output)[1]
    assert [cell["values"] for cell in outcome["cells"]] == [{"shade": "0.25"}, {"shade": "1"}]
    outcome = as_json(capsys, "sweep", graph, "--over", "mask.width=8", "--output", output)[1]
    assert [cell["values"] for cell in outcome["cells"]] == [{"mask.width": "8"}]


def test_edit_changes_the_axes_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = tmp_path / "graph.yaml"
    graph.write_text(SWEPT)
    options = ("--over", "shade=0.1:0.3:0.1", "--over", "mask.width=8,16")
    assert run(capsys, "edit", graph, *options)[0] == 0
    text = graph.read_text()
    assert "shade: {from: 0.1, to: 0.3, step: 0.1}" in text
    assert "mask.width: [8, 16]" in text
    assert "# the comment stays" in text
    graph.write_text(SWEPT.partition("sweep:")[0])
    assert run(capsys, "edit", graph, "--over", "shade=0.1,0.2")[0] == 0
    assert "sweep: {over: {shade: [0.1, 0.2]}}" in graph.read_text()
    before = graph.read_text()
    assert run(capsys, "edit", graph, "--over", "shade=")[0] == 1
    assert graph.read_text() == before
