"""Runs every example graph on the demo model and shows what comes out.

docs/gallery.md shows each graph's images; graphs/thumbnails has its result for the editor.
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
    """Run every graph, save its images, and write `docs/gallery.md`."""
    images, thumbnails = docs / "gallery", graphs / "thumbnails"
    for folder in (images, thumbnails):
        folder.mkdir(parents=True, exist_ok=True)
    entries = [HEAD]
    for path in sorted(graphs.glob("*.yaml")):
        graph = latentloom.load(path)
        with tempfile.TemporaryDirectory() as output:
            where = latentloom.workspace(graph, output_dir=Path(output))
            result = latentloom.run(graph, where)
            saved = [file for _, file in result.saved if file.suffix == ".png"]
            pairs = [*_sources(path), *saved]
            _beside(pairs).save(images / f"{path.stem}.png", optimize=True)
            _small(saved[-1]).save(thumbnails / f"{path.stem}.webp", quality=90, method=6)
        entries.append(entry(path))
    (docs / "gallery.md").write_text("\n".join(entries))


def entry(path: Path) -> str:
    """A graph's part of the page: its title, what its file says first, its image."""
    text = path.read_text("utf-8")
    about = " ".join(line[1:].strip() for line in text.split("latentloom:")[0].splitlines())
    title = yaml.safe_load(text)["title"]
    image = f"![{title}](gallery/{path.stem}.png)"
    return f"## {title}\n\n[`{path.name}`](../graphs/{path.name}): {about}\n\n{image}\n"


def _sources(path: Path) -> list[Path]:
    """The images that a graph starts from."""
    inputs = yaml.safe_load(path.read_text("utf-8")).get("inputs", {})
    kinds = ("image", "mask")
    return [path.parent / item["default"] for item in inputs.values() if item["type"] in kinds]


def _beside(paths: list[Path]) -> Image.Image:
    """Images side by side, made smaller together if they are long."""
    images = [_open(path) for path in paths]
    width = sum(image.width for image in images) + 4 * (len(images) - 1)
    sheet: Image.Image = Image.new("RGB", (width, max(image.height for image in images)), "white")
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + 4
    sheet.thumbnail((MAX_LENGTH, MAX_LENGTH), Image.Resampling.LANCZOS)
    return sheet.quantize(256)


def _small(path: Path) -> Image.Image:
    image = _open(path)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return image


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


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
