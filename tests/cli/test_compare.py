"""`latentloom compare`: graphs and images, on the terminal, as JSON and as a page."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.cli.commands import as_json, run

pytestmark = pytest.mark.torch


@pytest.fixture
def images(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[Path, Path, Path]:
    """Two images of one graph, painted unlike in their left half, and a mask of that half."""
    _, out, _ = run(capsys, "run", graph, "--output", tmp_path / "out")
    first = Path(out.strip())
    _, out, _ = run(
        capsys, "run", graph, "--set", "save.filename_prefix=b", "--output", tmp_path / "out"
    )
    second = Path(out.strip())
    for path, level in ((first, 0), (second, 255)):
        with Image.open(path) as image:
            texts = {str(key): value for key, value in image.info.items()}
            painted = Image.new("RGB", image.size, (90, 90, 90))
        painted.paste((level, 0, 0), (0, 0, 12, 16))
        save(painted, path, texts)
    mask = Image.new("L", (24, 16))
    mask.paste(255, (0, 0, 12, 16))
    mask.save(tmp_path / "mask.png")
    return first, second, tmp_path / "mask.png"


def save(image: Image.Image, path: Path, texts: dict[str, str]) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    image.save(path, pnginfo=info)


def test_graphs_and_images_are_compared_on_the_terminal(
    images: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, mask = images
    code, out, _ = run(capsys, "compare", first, second, "--mask", mask)
    assert code == 1
    lines = out.splitlines()
    assert lines[:2] == ["graphs: 1 difference", "  save.filename_prefix: 'small' -> 'b'"]
    assert lines[2].split() == ["24×16", "pixels", "changed", "PSNR", "SSIM", "delta-E"]
    assert lines[3].split()[:3] == ["all", "384", "192"]
    assert lines[4].split()[:5] == ["inside", "the", "mask", "192", "192"]
    assert lines[5].split()[:6] == ["outside", "the", "mask", "192", "0", "same"]
    assert lines[7] == "|" + "@" * 12 + " " * 12 + "|"


def test_the_same_numbers_are_in_the_json_and_on_the_page(
    images: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, mask = images
    page = tmp_path / "page.html"
    code, result = as_json(capsys, "compare", first, second, "--mask", mask, "--html", page)
    assert (code, result["status"], len(result["changes"])) == (1, "different", 1)
    (image,) = result["images"]
    assert (image["max_levels"], image["outside"]["delta_e"]) == (255, 0.0)
    assert [len(image["grid"]), len(image["grid"][0])] == [8, 24]
    text = page.read_text()
    assert f"<td>{image['inside']['delta_e']:.3f}</td>" in text
    assert text.count("data:image/png;base64,") == 3


def test_an_image_is_the_same_as_itself(
    images: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "compare", images[0], images[0])
    assert code == 0
    assert out.startswith("graphs: no differences\n24×16 ")


def test_a_graph_stands_for_the_images_that_it_gave(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--output", tmp_path / "out")
    _, out, _ = run(capsys, "run", graph, *given)
    code, result = as_json(capsys, "compare", graph, out.strip(), *given)
    assert (code, result["status"], len(result["images"])) == (0, "same", 1)


def test_images_without_graphs_and_of_other_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size in (("a", (16, 16)), ("b", (16, 16)), ("c", (12, 16))):
        Image.new("RGB", size, (9, 9, 9)).save(tmp_path / f"{name}.png")
    code, out, _ = run(capsys, "compare", tmp_path / "a.png", tmp_path / "b.png")
    assert code == 0
    assert out.startswith("graphs: not compared, as an image carries none\n16×16 ")
    code, out, _ = run(capsys, "compare", tmp_path / "a.png", tmp_path / "c.png")
    assert code == 1
    assert "expected the second image to have 16×16 pixels, as the first, got 12×16" in out
    mask = ("--mask", tmp_path / "c.png")
    code, _, err = run(capsys, "compare", tmp_path / "a.png", tmp_path / "b.png", *mask)
    assert code == 1
    assert "--mask: expected the mask to have 16×16 pixels, as the first, got 12×16" in err
