"""`latentloom test`: expectations in a file, met or failed, and as XML of JUnit."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.errors import FormatError
from latentloom.engine.formats import load_graph
from latentloom.engine.graph.expectations import read_expectations
from tests.cli.commands import as_json, run

NUMBERS = """\
latentloom: 1
nodes:
  photo: {node: LoadImage, image: inputs/house.png}
  size: {node: GetImageSize, image: $photo.IMAGE}
  inverted: {node: ImageInvert, image: $photo.IMAGE}
  change: {node: ImageDifference, image1: $photo.IMAGE, image2: $inverted.IMAGE}
expect:
"""


@pytest.fixture
def expecting(graph: Path) -> Path:
    """The gradient graph, which expects an image like its golden one."""
    graph.write_text(
        graph.read_text()
        + "expect:\n  save: {like: golden.png, within: 2.0}\n  small: {like: golden.png}\n"
    )
    return graph


@pytest.mark.torch
def test_an_image_is_like_its_golden_or_fails_with_the_distance(
    expecting: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "test", expecting)
    assert code == 1
    assert "save like golden.png within 2: failed\n  expected the image golden.png, got none" in out
    assert run(capsys, "test", expecting, "--update")[0] == 0
    expecting.write_text(expecting.read_text().replace("  small: {like", "  invert: {like"))
    assert run(capsys, "test", expecting, "--update")[0] == 0
    assert run(capsys, "test", expecting)[:2] == (0, (
        f"{expecting}: save like golden.png within 2: met\n"
        f"{expecting}: invert like golden.png: met\n2 of 2 expectations met\n"
    ))  # fmt: skip
    expecting.write_text(
        expecting.read_text().replace("images: $invert.IMAGE", "images: $small.IMAGE")
    )
    code, out, _ = run(capsys, "test", expecting)
    assert code == 1
    assert "expected an image like golden.png within a mean delta-E of 2, got " in out
    assert "384 of 384 pixels differ" in out
    assert [path.name for path in expecting.parent.iterdir() if path.is_dir()] == []


@pytest.mark.torch
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("size.width: 128", ""),
        ("size.width: {is: 120, within: 8}", ""),
        ("size.width: {min: 100, max: 128}", ""),
        ("size.width: 64", "expected size.width is 64, got 128"),
        ("size.width: {max: 100}", "expected size.width is at most 100, got 128"),
        ("size: 3", "expected one of the outputs width, height, batch_size, got none"),
        ("change.psnr: {max: 20}", ""),
        ("change.other: 1", "expected one of the outputs psnr, ssim, delta_e, got other"),
        ("photo.IMAGE: 3", "expected a number or a string, got Tensor"),
        ("size.width: {like: a.png}", "expected an image, got 128"),
        ("inverted.secret: 1", "inverted.secret: Tensor has no secret"),
    ],
)
def test_numbers_are_compared_and_what_is_wrong_is_said(
    line: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "numbers.yaml"
    path.write_text(f"{NUMBERS}  {line}\n")
    code, result = as_json(capsys, "test", path)
    (file,) = result["files"]
    (entry,) = file["expectations"]
    assert (code, entry["met"]) == ((0, True) if not reason else (1, False))
    assert reason in entry["reason"]


@pytest.mark.torch
def test_junit_has_a_suite_for_each_file(
    expecting: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, bare = tmp_path / "broken.yaml", tmp_path / "bare.yaml"
    broken.write_text("latentloom: 1\nexpect: {nobody: 3}\nnodes: {a: {node: EmptyImage}}\n")
    bare.write_text("latentloom: 1\nnodes: {a: {node: EmptyImage}}\n")
    report = tmp_path / "report.xml"
    code, out, _ = run(capsys, "test", expecting, broken, bare, "--junit", report)
    assert code == 1
    assert f"{bare}: no expectations\n" in out
    suites = ElementTree.parse(report).getroot()
    counts = [(s.get("tests"), s.get("failures"), s.get("errors")) for s in suites]
    assert counts == [("2", "2", "0"), ("1", "0", "1"), ("0", "0", "0")]
    problem = suites[1][0][0]
    assert "expect, nobody: expected a node of the graph" in str(problem.get("message"))
    code, _, err = run(capsys, "test", bare)
    assert (code, err) == (1, "expected files with `expect:`, got none\n")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{like: 3}", "like: expected the name of an image"),
        ("{like: a.png, max: 3}", "expected one of `like`, `is`, and `min` or `max`, got like and"),
        ("{}", "got none of them"),
        ("{is: a, within: 1}", "is: expected a number to be within of, got 'a'"),
        ("{min: x}", "min: expected a number, got 'x'"),
        ("{is: 1, within: -1}", "within: expected a number from 0"),
        ("{near: 1}", "expected like, within, is, min, max, got near"),
        ("[1]", "expected a number, a string, true, false, or a mapping"),
    ],
)
def test_an_expectation_of_another_form_is_refused(
    entry: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"{NUMBERS}  size: {entry}\n")
    with pytest.raises(FormatError, match=f"expect, size.*{message}"):
        load_graph(path)


VALUES: Any = st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=3)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.text(max_size=4),
        VALUES | st.lists(VALUES, max_size=2)
        | st.dictionaries(st.sampled_from(["like", "within", "is", "min", "max", "x"]), VALUES),
        max_size=3,
    )
)  # fmt: skip
def test_any_block_is_read_or_refused(block: dict[str, Any]) -> None:
    try:
        expectations = read_expectations(block)
    except FormatError:
        return
    assert [item.target for item in expectations] == list(block)
    assert all(str(item).startswith(item.target) for item in expectations)
