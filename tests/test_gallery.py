"""The gallery shows every example graph, and the editor what each of them makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.paths import ROOT
from training.gallery import entry

GRAPHS = sorted((ROOT / "graphs").glob("*.yaml"))


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_the_gallery_tells_what_a_graph_says_of_itself_and_shows_its_image(path: Path) -> None:
    assert entry(path) in (ROOT / "docs" / "gallery.md").read_text("utf-8")
    with Image.open(ROOT / "docs" / "gallery" / f"{path.stem}.png") as image:
        assert image.width >= 128


def test_each_graph_has_a_small_image_of_its_own() -> None:
    result = sorted((ROOT / "graphs" / "thumbnails").iterdir())
    assert [path.name for path in result] == [f"{path.stem}.webp" for path in GRAPHS]
    assert len({path.read_bytes() for path in result}) == len(result)
    assert sum(path.stat().st_size for path in result) < 100_000


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_the_small_image_is_the_result_in_the_gallery(path: Path) -> None:
    with (
        Image.open(ROOT / "graphs" / "thumbnails" / f"{path.stem}.webp") as small,
        Image.open(ROOT / "docs" / "gallery" / f"{path.stem}.png") as sheet,
    ):
        height = sheet.height * min(small.height, sheet.height) // sheet.height
        width = height * small.width // small.height
        last = sheet.convert("RGB").crop((sheet.width - width, 0, sheet.width, height))
        shown = small.convert("RGB").resize(last.size)
    assert max(ImageStat.Stat(ImageChops.difference(shown, last)).mean) < 6.0
