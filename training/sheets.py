"""Draws the contact sheets of the demo model: `python -m training.sheets`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

from training.judging.measures import LADDER
from training.judging.studio import GENTLE, Studio, open_studio
from training.mosaic import arrange
from training.world.edges import edges_of

PROMPTS = (
    "a red house on the left, autumn, hills, sun",
    "a blue boat in the center, lake, sunset, mountains, summer",
    "a tree on the right, winter, night, mountains, moon",
    "a pink balloon on the left, spring, clouds, sun, watercolor",
    "a purple house in the center and a tree on the right, summer, ink",
    "a yellow boat on the right, autumn, lake, hills, watercolor",
    "a red balloon in the center, winter, mountains, sun, ink",
    "an orange house on the right, night, summer, moon",
    "a yellow house on the left and a red balloon on the right, spring, hills",
    "sunset, winter, mountains, trees, watercolor",
    "a big yellow star on a blue background",
    "a big red heart on a white background, watercolor",
    "a red circle on the left and a green square on the right on a white background",
    "a big purple boat on a yellow background, ink",
    "a big blue tree on a pink background",
)
SEASON_PROMPT = "a red house on the left and a tree on the right, {}, {}, mountains, {}"
LADDER_PROMPT = "a purple house in the center, winter, sunset, hills, sun, clouds, trees"
SKETCH_PROMPT = "a yellow house on the left and a tree on the right, {}"
TOP = (
    (
        "lake.png",
        "a red boat on the left and a tree on the right, {}, mountains, lake",
        ("autumn, day", "spring, day", "spring, sunset", "winter, night", "autumn, ink"),
    ),
    (
        "sketch.png",
        "a yellow house on the left and a tree on the right, {}",
        ("spring, day", "autumn, sunset", "winter, night", "spring, watercolor", "autumn, ink"),
    ),
)
TRACED_PROMPTS = (
    "a purple boat on the left and a tree on the right, autumn, sunset, mountains, lake, sun",
    "a yellow boat on the left and a tree on the right, winter, day, mountains, lake, sun, ink",
    "a pink boat on the left and a tree on the right, spring, night, mountains, lake, watercolor",
)


def draw_top(studio: Studio, inputs: Path) -> Image.Image:
    """What the README begins with: images taken elsewhere, and a sketch rendered."""
    rows = []
    for name, prompt, moods in TOP:
        source = _open(inputs / name)
        rows.append([source, *(_elsewhere(studio, source, prompt.format(m)) for m in moods)])
    return arrange(rows)


def draw_prompts(studio: Studio) -> Image.Image:
    """Three rows of prompts."""
    images = studio.draw_all(PROMPTS)
    return arrange([images[:5], images[5:10], images[10:]])


def draw_seasons(studio: Studio) -> Image.Image:
    """One scene through the seasons (columns) and through hours and styles, from one seed."""
    rows = [("day", "flat"), ("sunset", "flat"), ("night", "flat"), ("day", "watercolor"),
            ("day", "ink")]  # fmt: skip
    seasons = ("spring", "summer", "autumn", "winter")
    return arrange(
        [
            [studio.draw(SEASON_PROMPT.format(season, hour, style), 3) for season in seasons]
            for hour, style in rows
        ]
    )


def draw_ladder(studio: Studio, inputs: Path) -> Image.Image:
    """A source, then image to image with more and more denoise; below, to other seasons."""
    house, lake = (_open(inputs / name) for name in ("house.png", "lake.png"))
    prompt = "a red boat on the left and a tree on the right, {}, mountains, lake, sun"
    moods = ("autumn, day", "spring, day", "spring, sunset", "winter, night")
    return arrange(
        [
            [house, *(studio.change(house, LADDER_PROMPT, step, 1) for step in LADDER)],
            [lake, *(_elsewhere(studio, lake, prompt.format(m)) for m in moods)],
        ]
    )


def draw_sketch(studio: Studio, inputs: Path) -> Image.Image:
    """A sketch, then four renders of it."""
    sketch = _open(inputs / "sketch.png")
    moods = ("spring, day, sun", "autumn, sunset, sun", "winter, night", "spring, watercolor")
    renders = [_elsewhere(studio, sketch, SKETCH_PROMPT.format(m)) for m in moods]
    return arrange([[sketch, *renders]])


def draw_control(studio: Studio, inputs: Path) -> Image.Image:
    """An image, its edges, then images along them."""
    lake = _open(inputs / "lake.png")
    edges = Image.fromarray(edges_of(lake)).convert("RGB")
    return arrange([[lake, edges, *(studio.trace(lake, p, 4) for p in TRACED_PROMPTS)]])


def draw_adapter(studio: Studio) -> Image.Image:
    """Prompts without the LoRA, at half of it, and with all of it."""
    return arrange(
        [studio.with_adapter(strength).draw_all(PROMPTS[:5]) for strength in (0.0, 0.5, 1.0)]
    )


def main(arguments: list[str] | None = None) -> int:
    """Write the sheets."""
    parser = argparse.ArgumentParser(prog="python -m training.sheets", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--inputs", type=Path, default=Path("graphs/inputs"))
    parser.add_argument("--output", type=Path, default=Path("docs/demo"))
    options = parser.parse_args(arguments)
    studio = open_studio(options.models)
    sheets = {
        "top": draw_top(studio, options.inputs),
        "prompts": draw_prompts(studio),
        "seasons": draw_seasons(studio),
        "ladder": draw_ladder(studio, options.inputs),
        "sketch": draw_sketch(studio, options.inputs),
        "controlnet": draw_control(studio, options.inputs),
        "lora": draw_adapter(studio),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    for name, sheet in sheets.items():
        sheet.save(options.output / f"{name}.png", optimize=True)
        print(options.output / f"{name}.png")
    return 0


def _elsewhere(studio: Studio, source: Image.Image, prompt: str) -> Image.Image:
    """A summer image at another time, its composition kept."""
    return studio.change(source, prompt, 0.7, 2, GENTLE)


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


if __name__ == "__main__":
    sys.exit(main())
