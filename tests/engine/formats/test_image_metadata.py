"""Graphs in images: what was embedded comes back, and no image does harm."""

from __future__ import annotations

import contextlib
import json
import struct
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, features

from latentloom.engine.errors import FormatError
from latentloom.engine.formats import embed, load_graph, parse_graph
from latentloom.engine.graph.graph import Graph, GraphInput, InputRef, Link, Node
from tests.engine.fakes import REGISTRY

GRAPH = Graph(
    {
        "start": Node("Number", {"value": 3}),
        "pass1": Node("Blend", {"a": Link("start", "INT"), "weight": InputRef("strength")}),
    },
    {"strength": GraphInput("float", 0.25, 0, 1)},
)
PROMPT = '{"3": {"class_type": "Number", "inputs": {}}, "19:7": {"class_type": "A", "inputs": {}}}'


def image(path: Path, chunks: dict[str, str]) -> Path:
    info = PngImagePlugin.PngInfo()
    for key, value in chunks.items():
        info.add_text(key, value)
    Image.new("RGB", (2, 2)).save(path, pnginfo=info)
    return path


def test_an_image_gives_its_graph_back(tmp_path: Path) -> None:
    saved = image(tmp_path / "a.png", embed(GRAPH, REGISTRY))
    assert load_graph(saved) == GRAPH
    with Image.open(saved) as opened:
        prompt = json.loads(opened.info["prompt"])
    assert prompt["pass1"]["inputs"] == {"a": ["start", 0], "weight": 0.25}


def test_a_graph_that_only_one_form_can_hold_is_carried_in_that(tmp_path: Path) -> None:
    graph = Graph(
        {"a b": Node("Number", {"value": 3}), "c": Node("Show", {"value": Link("a b", 0)})}
    )
    chunks = embed(graph, REGISTRY)
    assert list(chunks) == ["prompt"]
    assert load_graph(image(tmp_path / "a.png", chunks)) == graph


def test_numbers_that_comfyui_could_not_write_are_null_in_its_images(tmp_path: Path) -> None:
    text = '{"1": {"class_type": "A", "inputs": {"x": Infinity}, "is_changed": [NaN]}}'
    node = load_graph(image(tmp_path / "a.png", {"prompt": text})).nodes["1"]
    assert node.inputs == {"x": None}
    with pytest.raises(FormatError, match="expected a finite number, got Infinity at /1/inputs/x"):
        parse_graph(text)


def test_an_image_with_only_an_editors_graph_gives_it(tmp_path: Path) -> None:
    text = '{"nodes": [{"id": 1, "type": "FromAPack"}], "links": []}'
    saved = image(tmp_path / "a.png", {"workflow": text})
    assert load_graph(saved).nodes["1"].type == "FromAPack"
    broken = image(tmp_path / "b.png", {"workflow": '{"nodes": 3}'})
    with pytest.raises(FormatError, match=r"b\.png, its text 'workflow'"):
        load_graph(broken)


def test_an_image_of_comfyui_gives_its_graph(tmp_path: Path) -> None:
    saved = image(tmp_path / "a.png", {"prompt": PROMPT})
    assert list(load_graph(saved).nodes) == ["3", "19:7"]


@pytest.mark.parametrize("key", ["prompt", "workflow"])
@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "compressed iTXt"])
def test_every_kind_of_text_in_a_png_carries_a_graph(kind: str, key: str, tmp_path: Path) -> None:
    info, text = PngImagePlugin.PngInfo(), PROMPT if key == "prompt" else WORKFLOW
    if "iTXt" in kind:
        info.add_itxt(key, text, zip=kind != "iTXt")
    else:
        info.add_text(key, text, zip=kind == "zTXt")
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png", pnginfo=info)
    assert kind.removeprefix("compressed ").encode() in (tmp_path / "a.png").read_bytes()
    expected = ["3", "19:7"] if key == "prompt" else ["1"]
    assert list(load_graph(tmp_path / "a.png").nodes) == expected


MODEL, MAKE, DESCRIPTION = 0x0110, 0x010F, 0x010E
FORMATS = ["JPEG", "WEBP", "PNG", *(["AVIF"] if features.check("avif") else [])]
WORKFLOW = '{"nodes": [{"id": 1, "type": "FromAPack"}], "links": []}'


def with_exif(path: Path, format: str, tags: Mapping[int, str | bytes]) -> Path:
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = value
    Image.new("RGB", (2, 2)).save(path, format, exif=exif.tobytes())
    return path


@pytest.mark.parametrize("format", FORMATS)
def test_an_image_carries_a_graph_in_its_exif(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{format.lower()}"
    both = {MODEL: f"prompt:{PROMPT}", MAKE: f"workflow:{WORKFLOW}"}
    assert list(load_graph(with_exif(path, format, both)).nodes) == ["3", "19:7"]
    assert load_graph(with_exif(path, format, {MAKE: both[MAKE]})).nodes["1"].type == "FromAPack"
    ours = {MODEL: f"latentloom:{embed(GRAPH, REGISTRY)['latentloom']}"}
    assert load_graph(with_exif(path, format, ours)) == GRAPH


def test_keys_in_exif_may_be_in_upper_case_and_text_in_utf_8(tmp_path: Path) -> None:
    text = 'Prompt:{"3": {"class_type": "Number", "inputs": {"value": "漢字"}}}'
    graph = load_graph(with_exif(tmp_path / "a.jpg", "JPEG", {DESCRIPTION: text.encode()}))
    assert graph.nodes["3"].inputs == {"value": "漢字"}


@pytest.mark.parametrize("text", ["", "prompt", "prompt:", "workflow:5", "prompt:{", "a:b", "0.5"])
def test_exif_without_a_graph_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"^a\.webp"):
        load_graph(with_exif(tmp_path / "a.webp", "WEBP", {MODEL: text}))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FORMATS), st.floats(0, 1), st.binary(max_size=8))
def test_any_damage_to_an_image_with_exif_is_a_format_error_or_none(
    format: str, share: float, patch: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = with_exif(Path(folder) / f"a.{format.lower()}", format, {MODEL: f"prompt:{PROMPT}"})
        data = bytearray(path.read_bytes())
        start = int(share * len(data))
        data[start : start + len(patch)] = patch
        path.write_bytes(data)
        with contextlib.suppress(FormatError):
            assert isinstance(load_graph(path), Graph)


@pytest.mark.parametrize(
    "chunks",
    [
        {},
        {"latentloom": "{"},
        {"latentloom": "5"},
        {"latentloom": '{"latentloom": 1, "nodes": 5}'},
        {"prompt": "[1]"},
        {"prompt": '{"1": 5}'},
        {"prompt": "[" * 10_000},
    ],
)
def test_an_image_without_a_graph_is_refused(tmp_path: Path, chunks: dict[str, str]) -> None:
    with pytest.raises(FormatError, match=r"^a\.png"):
        load_graph(image(tmp_path / "a.png", chunks))


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not an image")
    expected = "expected a PNG, JPEG, WebP or AVIF saved by latentloom, ComfyUI or A1111, got"
    with pytest.raises(FormatError, match=expected):
        load_graph(tmp_path / "a.png")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*texts: bytes, size: int = 4) -> bytes:
    """A PNG of this declared size with these raw chunks before its pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
    tail = chunk(b"IDAT", zlib.compress(bytes(52))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(texts) + tail


OURS = b'latentloom\0{"latentloom": 1, "nodes": {"a": {"node": "Number"}}}'


def test_a_large_image_gives_its_graph_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(chunk(b"tEXt", OURS), size=12_000))
    assert list(load_graph(tmp_path / "a.png").nodes) == ["a"]


@pytest.mark.parametrize(
    "data",
    [
        png(chunk(b"tEXt", OURS), size=60_000),
        png(chunk(b"tEXt", OURS), size=0),
        png(chunk(b"zTXt", b"latentloom\0\0" + zlib.compress(bytes(20_000_000)))),
        png(chunk(b"iTXt", b"latentloom\0\1\0\0\0" + zlib.compress(bytes(20_000_000)))),
        png(chunk(b"tEXt", b"latentloom\0" + b"x" * 17_000_000)),
        png(chunk(b"tEXt", OURS))[:80],
        png(chunk(b"acTL", b""), chunk(b"tEXt", b""), chunk(b"tEXt", OURS)),
        png(b"\xff\xff\xff\xfftEXt"),
    ],
    ids=["bomb", "no size", "zTXt bomb", "iTXt bomb", "long", "cut", "broken", "endless"],
)
def test_an_image_that_is_made_to_hurt_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(FormatError, match=r"^a\.png"):
        load_graph(tmp_path / "a.png")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 200), st.binary(max_size=8), st.integers(0, 8))
def test_any_damage_to_an_image_is_a_format_error_or_none(
    where: int, data: bytes, removed: int
) -> None:
    complete = png(chunk(b"tEXt", OURS))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        path.write_bytes(complete[:where] + data + complete[where + removed :])
        with contextlib.suppress(FormatError):
            assert isinstance(load_graph(path), Graph)
