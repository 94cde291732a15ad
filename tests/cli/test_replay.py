"""`latentloom replay`: the same bytes, how far off and since which node, or what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from tests.cli.commands import as_json, run
from tests.paths import ROOT

pytestmark = pytest.mark.torch
KEY = "latentloom_manifest"


@pytest.fixture
def saved(graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """An image of the gradient graph, whose input is next to the graph."""
    photo = (ROOT / "graphs" / "inputs" / "house.png").read_bytes()
    (tmp_path / "photo.png").write_bytes(photo)
    graph.write_text(graph.read_text().replace("inputs/house.png", "photo.png"))
    _, out, _ = run(capsys, "run", graph, "--output", tmp_path / "out")
    return Path(out.strip())


def rewrite(
    path: Path,
    change: Callable[[dict[str, Any]], None] = lambda manifest: None,
    paint: Callable[[Image.Image], None] = lambda image: None,
) -> None:
    """Change the manifest and the pixels of a saved image."""
    with Image.open(path) as image:
        image.load()
        texts: dict[str, Any] = {str(key): value for key, value in image.info.items()}
    manifest = json.loads(texts[KEY])
    change(manifest)
    paint(image)
    info = PngImagePlugin.PngInfo()
    for key, value in (texts | {KEY: json.dumps(manifest)}).items():
        info.add_text(key, value)
    image.save(path, pnginfo=info, compress_level=4)


def test_an_image_comes_out_with_the_same_bytes(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "replay", saved)
    assert (code, out) == (0, "the same bytes\n")
    code, out, _ = run(capsys, "replay", saved, "--check")
    assert code == 0
    assert "1 input files and 0 model files are the same, as are all versions" in out


def test_a_version_that_differs_is_named_beside_the_result(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(saved, lambda manifest: manifest["libraries"].update(torch="1.0.0"))
    code, out, err = run(capsys, "replay", saved)
    assert (code, out) == (0, "the same bytes of the image; the texts in the file differ\n")
    assert "library torch: expected 1.0.0, got " in err


@pytest.mark.parametrize(("levels", "code"), [(2, 0), (90, 1)])
def test_a_difference_is_measured_and_its_first_node_named(
    levels: int, code: int, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def paint(image: Image.Image) -> None:
        red, green, blue = image.getpixel((4, 4))  # type: ignore[misc]
        image.putpixel((4, 4), (red + levels if red < 128 else red - levels, green, blue))

    def change(manifest: dict[str, Any]) -> None:
        manifest["nodes"]["invert"]["outputs"] = ["0" * 64]
        manifest["nodes"]["small"]["outputs"] = [None]

    rewrite(saved, change, paint)
    got, out, _ = run(capsys, "replay", saved)
    assert got == code
    word = "the same within" if code == 0 else "different: up to"
    assert out.startswith(f"{word} {levels} of 255 levels, in 1 of 384 pixels; PSNR ")
    assert out.endswith("; the first difference is at node invert\n")


def test_an_input_that_differs_or_is_missing_is_named(
    saved: Path, graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes((ROOT / "graphs" / "inputs" / "lake.png").read_bytes())
    code, result = as_json(capsys, "replay", saved)
    assert (code, result["status"]) == (1, "blocked")
    assert [item["kind"] for item in result["differences"]] == ["changed_input"]

    rewrite(saved, lambda manifest: manifest["graph"]["nodes"]["photo"].update(image="no.png"))
    rewrite(saved, lambda manifest: manifest["inputs"][0].update(name="no.png"))
    code, out, err = run(capsys, "replay", saved)
    assert (code, out) == (1, "")
    assert "input no.png: expected the file with SHA-256 579fcecd140c..., got none" in err
    assert err.endswith("it cannot be made again here\n")


def test_a_model_and_a_node_that_are_not_here_are_named(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        nodes = manifest["graph"]["nodes"]
        nodes["load"] = {"node": "VAELoader", "vae_name": "lost.safetensors"}
        nodes["more"] = {"node": "Unheard Of", "vae": "$load.VAE", "images": "$invert.IMAGE"}
        nodes["save"]["images"] = "$more.0"
        entry = {"kind": "vae", "name": "lost.safetensors", "sha256": "ab" * 32}
        manifest["models"].append(entry | {"used_by": ["load.vae_name"]})

    rewrite(saved, change)
    code, out, err = run(capsys, "replay", saved, "--check")
    assert (code, out) == (1, "")
    assert "models/vae lost.safetensors: expected the file with SHA-256 abababababab" in err
    assert "`latentloom models --find abababababab` looks for it under other names" in err
    assert "Unheard Of (more): expected a node that is installed" in err


def test_an_image_without_a_manifest_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "bare.png")
    code, _, err = run(capsys, "replay", tmp_path / "bare.png")
    assert code == 1
    assert "bare.png: expected an image with a manifest, got one without" in err
