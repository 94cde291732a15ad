"""Nodes that load and save images: results and error messages."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import latentloom
from latentloom.engine import errors
from latentloom.engine.errors import InputError, RunCancelledError
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import embed, load_graph
from latentloom.engine.graph import validate
from latentloom.engine.graph.graph import Graph, GraphInput, InputRef, Link, Node
from latentloom.engine.node.context import Context
from latentloom.nodes import registry
from latentloom.nodes.image_file import (
    LoadImage,
    LoadImageMask,
    SavedFormat,
    SaveImage,
    preview_image,
)
from tests.diffusion.images.images import bomb, encoded, sample

LOADERS = (LoadImage.run, LoadImage.check, LoadImageMask.run, LoadImageMask.check)
IMAGES = torch.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3) / 255.0


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(
        node="9",
        output_dir=tmp_path / "out",
        temp_dir=tmp_path / "temp",
        metadata=lambda: {"prompt": json.dumps({"9": {}}), "latentloom": "{}"},
    )


def levels(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image))


@pytest.mark.parametrize(("format", "suffix"), [("webp", ".webp"), ("jpeg", ".jpg")])
def test_other_formats_carry_the_graph_in_exif(
    format: SavedFormat, suffix: str, tmp_path: Path
) -> None:
    graph = Graph({"a": Node("Note", {"text": "größer 大"})})
    texts = embed(graph, registry())
    context = Context(output_dir=tmp_path, metadata=lambda: texts)
    (path,) = SaveImage.run(IMAGES[:1], context, "x", format).paths
    assert path.name == f"x_00001_{suffix}"
    assert load_graph(path, registry()) == graph
    with Image.open(path) as image:
        assert image.getexif()[0x010F].startswith("prompt:")


def test_lossless_webp_holds_the_levels(context: Context) -> None:
    (path, _) = SaveImage.run(IMAGES, context, "x", "webp", 100).paths
    assert torch.equal(levels(path), (IMAGES[0] * 255).to(torch.uint8))


def test_a_graph_that_jpeg_cannot_hold_is_refused(tmp_path: Path) -> None:
    texts = {"latentloom": "x" * 70_000, "prompt": "x" * 60_000}
    context = Context(output_dir=tmp_path, metadata=lambda: texts)
    (path,) = SaveImage.run(IMAGES[:1], context, "x", "jpeg").paths
    with Image.open(path) as image:
        assert next(iter(image.getexif().values())).startswith("prompt:x")
    texts["prompt"] = texts["latentloom"]
    with pytest.raises(InputError, match="at most 65000 bytes for jpeg"):
        SaveImage.run(IMAGES[:1], context, "x", "jpeg")


def test_an_image_that_webp_cannot_hold_is_refused(context: Context) -> None:
    with pytest.raises(InputError, match="at most 16383 pixels a side for webp"):
        SaveImage.run(torch.zeros(1, 1, 16_384, 3), context, "x", "webp")


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    ("data", "expected", "got"),
    [
        (b"", "a PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC image", "an empty file"),
        (b"8BPS", "WebP, GIF, BMP, TIFF, AVIF or HEIC image", "a PSD"),
        (encoded(sample(), "JPEG")[:-9], "a complete JPEG file", "before its end mark"),
        (bomb(9000, 9000), "at most 64 megapixels", "9000×9000 (81.0 megapixels)"),
    ],
)
def test_the_error_of_a_bad_file_says_what_was_expected_and_got(
    load: Callable[[Path], object], data: bytes, expected: str, got: str, tmp_path: Path
) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(data)
    with pytest.raises(InputError) as refused:
        load(path)
    assert refused.value.port == "image"
    assert expected in refused.value.expected
    assert got in refused.value.got


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF"])
def test_every_format_gives_the_pixels_that_were_saved(format: str, tmp_path: Path) -> None:
    grey = sample("L")
    (tmp_path / "a").write_bytes(encoded(grey, format))
    expected = torch.from_numpy(np.array(grey)).float() / 255.0
    image, mask = LoadImage.run(tmp_path / "a")
    assert torch.equal(image[0, ..., 1], expected)
    assert mask.shape == (1, 64, 64)


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="expected a system that can pass folders so")
@pytest.mark.parametrize("load", LOADERS)
def test_a_folder_that_became_a_link_after_the_name_was_resolved_is_not_followed(
    load: Callable[[Path], object], tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    sample().save(tmp_path / "outside" / "a.png")
    (tmp_path / "input" / "door").mkdir(parents=True)
    sample().save(tmp_path / "input" / "door" / "a.png")
    path = Workspace(input_dir=tmp_path / "input").resolve("input", "door/a.png")
    load(path)
    (tmp_path / "input" / "door").rename(tmp_path / "away")
    (tmp_path / "input" / "door").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match=r"'a\.png': "):
        load(path)


def test_an_image_may_be_a_link_in_a_folder_that_cannot_be_listed(
    tmp_path: Path,
) -> None:
    (tmp_path / "passed").mkdir()
    sample().save(tmp_path / "passed" / "a.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "passed" / "a.png")
    (tmp_path / "passed").chmod(0o311)
    try:
        path = Workspace(granted=frozenset({tmp_path / "link.png"})).resolve(
            "input", str(tmp_path / "link.png")
        )
        assert LoadImage.run(path).IMAGE.shape[-1] == 3
    finally:
        (tmp_path / "passed").chmod(0o755)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=60), cut=st.integers(0, 200))
def test_any_file_content_gives_an_image_or_a_typed_error(
    tmp_path: Path, data: bytes, cut: int
) -> None:
    path = tmp_path / "image.png"
    intact = encoded(sample(), "PNG")
    path.write_bytes(intact[:cut] + data + intact[cut + len(data) :])
    refused = None
    try:
        assert LoadImage.run(path).IMAGE.shape[-1] == 3
    except InputError as error:
        refused = error
    assert refused is None or refused.port == "image"


def test_saved_images_are_numbered_and_truncated_to_8_bits(context: Context) -> None:
    saved = SaveImage.run(IMAGES, context, "sub/%width%x%height%")
    folder = context.output_dir / "sub"
    assert saved.paths == (folder / "6x4_00001_.png", folder / "6x4_00002_.png")
    assert torch.equal(levels(saved.paths[1]), (IMAGES[1] * 255).to(torch.uint8))


def test_saving_again_continues_the_numbers(context: Context) -> None:
    first = SaveImage.run(IMAGES, context).paths[0].read_bytes()
    again = SaveImage.run(1 - IMAGES, context)
    assert [path.name for path in again.paths] == ["ComfyUI_00003_.png", "ComfyUI_00004_.png"]
    assert (context.output_dir / "ComfyUI_00001_.png").read_bytes() == first


def test_a_saved_image_carries_the_graph(context: Context) -> None:
    path = SaveImage.run(IMAGES, context).paths[0]
    with Image.open(path) as image:
        assert image.info == {"prompt": '{"9": {}}', "latentloom": "{}"}


def test_a_saved_image_loads_with_the_same_values(context: Context) -> None:
    path = SaveImage.run(IMAGES, context).paths[0]
    assert torch.equal(LoadImage.run(path).IMAGE, IMAGES[:1])


def test_previews_go_to_the_temporary_folder(context: Context) -> None:
    saved = preview_image(IMAGES, context)
    assert [path.parent for path in saved.paths] == [context.temp_dir] * 2
    assert not context.output_dir.exists()


@pytest.mark.parametrize("prefix", ["../a", "/tmp/a", "", "a\0", "C:\\a"])
def test_a_prefix_that_leaves_the_folder_is_rejected_by_check_and_run(
    prefix: str, context: Context
) -> None:
    with pytest.raises(InputError) as checked:
        SaveImage.check(prefix)
    with pytest.raises(InputError) as ran:
        SaveImage.run(IMAGES, context, prefix)
    assert str(checked.value) == str(ran.value)
    assert ran.value.port == "filename_prefix"
    assert not list(context.output_dir.parent.rglob("*.png"))


def test_a_folder_that_cannot_be_made_is_a_typed_error(context: Context) -> None:
    context.output_dir.mkdir()
    (context.output_dir / "taken").write_text("a file")
    with pytest.raises(InputError, match="filename_prefix: expected a path that can be written"):
        SaveImage.run(IMAGES, context, "taken/a")


@pytest.mark.parametrize("shape", [(1, 4, 4, 2), (1, 0, 4, 3), (4, 4, 3)])
def test_tensors_of_other_shapes_are_rejected(shape: tuple[int, ...], context: Context) -> None:
    with pytest.raises(InputError, match="images: expected images"):
        SaveImage.run(torch.zeros(shape), context)


def test_a_cancelled_run_saves_nothing(context: Context) -> None:
    context.cancelled = lambda: True
    with pytest.raises(RunCancelledError):
        SaveImage.run(IMAGES, context)
    assert not list(context.output_dir.rglob("*.*"))


def test_nodes_that_share_a_missing_image_are_one_problem() -> None:
    nodes = {id: Node("LoadImage", {"image": InputRef("photo")}) for id in ("a", "b")}
    graph = Graph(nodes, {"photo": GraphInput("image", "gone.png")})
    problems = validate.check(graph, latentloom.registry(), Workspace())
    assert [str(problem).partition(":")[0] for problem in problems] == [
        "graph",
        "LoadImage (a) .image",
    ]


def test_a_missing_image_is_suggested_from_another_folder_or_in_another_case(
    tmp_path: Path,
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "House.png").touch()
    for number in range(errors.MAX_COMPARED):
        (tmp_path / f"{number}.png").touch()
    nodes = {
        "load": Node("LoadImage", {"image": "house.png"}),
        "show": Node("PreviewImage", {"images": Link("load", "IMAGE")}),
    }
    (problem,) = latentloom.check(Graph(nodes), Workspace(input_dir=tmp_path))
    assert "did you mean 'sub/House.png'?" in problem.hint
