"""Shared by the tests of the command line: a graph that needs no model, and calls of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import Image

from latentloom import cli
from tests.paths import ROOT

GRAPHS = ROOT / "graphs"

GRADIENT = """\
latentloom: 1
inputs:
  photo: {type: image, default: inputs/house.png}
  size: {type: int, default: 24, min: 1, max: 64}
nodes:
  photo: {node: LoadImage, image: '${photo}'}
  small: {node: ImageScale, image: $photo.IMAGE, upscale_method: area, width: '${size}', height: 16, crop: disabled}
  invert: {node: ImageInvert, image: $small.IMAGE}
  save: {node: SaveImage, images: $invert.IMAGE, filename_prefix: small}
"""  # noqa: E501


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(capsys, *arguments, "--json")
    result: dict[str, Any] = json.loads(out)
    return code, result


def size(printed: str) -> tuple[int, int]:
    with Image.open(printed.strip()) as image:
        return image.size


def pixels(printed: str) -> bytes:
    with Image.open(printed.strip()) as image:
        return image.tobytes()
