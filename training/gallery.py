"""Runs every example graph on the demo model and shows what comes out.

docs/gallery.md shows each graph's pictures; graphs/thumbnails has its result for the editor.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import yaml
from PIL import Image

import latentloom

HEAD = """# Gallery

Results of the graphs in [graphs/](../graphs) with the demo model, at their defaults. `python -m
training.gallery` renders them again.
"""
MAX_LENGTH = 520
THUMBNAIL = 256


def draw_gallery(graphs: Path, docs: Path) -> None:
    """Run every graph, save its pictures, and write `docs/gallery.md`."""
    pictures, thumbnails = docs / "gallery", graphs / "thumbnails"
    for folder in (pictures, thumbnails):
        folder.mkdir(parents=True, exist_ok=True)
    entries = [HEAD]
    for path in sorted(graphs.glob("*.yaml")):
        graph = latentloom.load(path)
        with tempfile.TemporaryDirectory() as output:
            where = latentloom.workspace(graph, output_dir=Path(output))
            result = latentloom.run(graph, where)
            saved = [file for _, file in result.saved if file.suffix == ".png"]
            pairs = [*_sources(path), *saved]
            _beside(pairs).save(pictures / f"{path.stem}.png", optimize=True)
            _small(saved[-1]).save(thumbnails / f"{path.stem}.webp", quality=90, method=6)
        entries.append(entry(path))
    (docs / "gallery.md").write_text("\n".join(entries))


def entry(path: Path) -> str:
    """A graph's part of the page: its title, what its file says first, its picture."""
    text = path.read_text("utf-8")
    about = " ".join(line[1:].strip() for line in text.split("latentloom:")[0].splitlines())
    title = yaml.safe_load(text)["title"]
    picture = f"![{title}](gallery/{path.stem}.png)"
    return f"## {title}\n\n[`{path.name}`](../graphs/{path.name}): {about}\n\n{picture}\n"


def _sources(path: Path) -> list[Path]:
    """The pictures that a graph starts from."""
    inputs = yaml.safe_load(path.read_text("utf-8")).get("inputs", {})
    kinds = ("image", "mask")
    return [path.parent / each["default"] for each in inputs.values() if each["type"] in kinds]


def _beside(paths: list[Path]) -> Image.Image:
    """Pictures side by side, made smaller together if they are long."""
    pictures = [_open(path) for path in paths]
    wide = sum(picture.width for picture in pictures) + 4 * (len(pictures) - 1)
    sheet: Image.Image = Image.new(
        "RGB", (wide, max(picture.height for picture in pictures)), "white"
    )
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + 4
    sheet.thumbnail((MAX_LENGTH, MAX_LENGTH), Image.Resampling.LANCZOS)
    return sheet.quantize(256)


def _small(path: Path) -> Image.Image:
    picture = _open(path)
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return picture


def _open(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def main(arguments: list[str] | None = None) -> int:
    """Write the gallery."""
    parser = argparse.ArgumentParser(prog="python -m training.gallery", description=__doc__)
    parser.add_argument("--graphs", type=Path, default=Path("graphs"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    options = parser.parse_args(arguments)
    draw_gallery(options.graphs, options.docs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
