"""The gallery shows every example graph."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from training.gallery import entry

ROOT = Path(__file__).parent.parent
GRAPHS = sorted((ROOT / "graphs").glob("*.yaml"))


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_the_gallery_tells_what_a_graph_says_of_itself_and_shows_its_picture(path: Path) -> None:
    assert entry(path) in (ROOT / "docs" / "gallery.md").read_text("utf-8")
    with Image.open(ROOT / "docs" / "gallery" / f"{path.stem}.png") as picture:
        assert picture.width >= 128
