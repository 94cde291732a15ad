"""Newer nodes for images: 16-bit PNGs, comparisons, regions, and images of the output folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import latentloom
from latentloom.diffusion.images.deep_png import encode_deep_png
from latentloom.diffusion.latents.latents import Latent
from latentloom.engine.errors import GraphError, InputError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.saving import key_of_image
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import parse_graph
from latentloom.engine.formats.comfy_workflow import write_workflow
from latentloom.engine.graph.graph import Graph, Link, Node
from latentloom.engine.node.context import Context
from latentloom.nodes import image_file, image_resize, image_transform, latent_mix
from latentloom.nodes.image_file import PngOptions

REGISTRY = latentloom.registry()


def decode(data: bytes) -> Any:
    """Return the values of a PNG as another library reads them."""
    cv2 = pytest.importorskip("cv2")
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    decoded = decoded[..., None] if decoded.ndim == 2 else decoded
    order = [2, 1, 0, 3][: decoded.shape[-1]] if decoded.shape[-1] > 1 else [0]
    return decoded[..., order]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_deep_png_holds_16_bits_of_every_value(channels: int) -> None:
    values = torch.randint(0, 65536, (5, 7, channels), generator=torch.Generator().manual_seed(1))
    data = encode_deep_png(values.double().div(65535).float(), {"prompt": "x"})
    decoded = decode(data)
    assert decoded.dtype == np.uint16
    # float32 has 24 bits, so that a value comes back exactly.
    assert np.array_equal(decoded, values.numpy().astype(np.uint16))


def test_a_deep_png_clamps_and_holds_any_text() -> None:
    from io import BytesIO

    from PIL import Image

    image = torch.tensor([[[-1.0], [2.0], [float("nan")]]])
    data = encode_deep_png(image, {"prompt": "plain", "workflow": "žluť"})
    assert decode(data).flatten().tolist() == [0, 65535, 0]
    with Image.open(BytesIO(data)) as opened:
        opened.load()
        assert opened.info["prompt"] == "plain"
        assert opened.info["workflow"] == "žluť"


def context(folder: Path) -> Context:
    return Context("1", folder, folder / "temp")


def test_save_image_advanced_saves_either_depth(tmp_path: Path) -> None:
    image = torch.full((1, 2, 2, 3), 0.5)
    for options, dtype in ((PngOptions("8-bit"), np.uint8), (PngOptions("16-bit"), np.uint16)):
        saved = image_file.SaveImageAdvanced.run(image, context(tmp_path), "a", options)
        (path,) = saved.paths
        assert decode(path.read_bytes()).dtype == dtype


def test_image_compare_previews_both_batches(tmp_path: Path) -> None:
    image = torch.zeros(2, 2, 2, 3)
    saved = image_file.image_compare(context(tmp_path), None, image, image[:1])
    assert [key_of_image(path) for path in saved.paths] == ["a_images", "a_images", "b_images"]
    assert image_file.image_compare(context(tmp_path)).paths == ()


def test_load_image_output_reads_the_output_folder(tmp_path: Path) -> None:
    image_file.SaveImage.run(torch.ones(1, 3, 4, 3), context(tmp_path), "sub/a")
    graph = Graph({"load": Node("LoadImageOutput", {"image": "sub/a_00001_.png"})})
    with Engine(REGISTRY, workers=1) as engine:
        result = engine.run(graph, Workspace(output_dir=tmp_path), ["load"])
        assert result["load"].IMAGE.shape == (1, 3, 4, 3)
        with pytest.raises(GraphError, match="there is no output file"):
            engine.run(graph, Workspace(output_dir=tmp_path / "other"), ["load"])


@pytest.mark.parametrize(
    "box", [None, 5, {}, {"x": 0, "y": 0, "width": 0, "height": 1}, {"x": True, "y": 0}]
)
def test_a_region_that_is_not_a_box_is_refused(box: Any) -> None:
    with pytest.raises(InputError, match="crop_region: expected a box"):
        image_transform.image_crop_region(torch.zeros(1, 2, 2, 3), box)


def test_an_image_below_the_multiple_is_refused() -> None:
    rule = image_resize.ScaleToMultiple(8)
    with pytest.raises(InputError, match="at least 8 pixels"):
        image_resize.resize_image_or_mask(torch.zeros(1, 7, 9, 3), rule)


def test_cut_and_concat_refuse_an_axis_that_is_missing() -> None:
    latent = Latent(torch.zeros(1, 4, 2, 3))
    with pytest.raises(InputError, match="dim: expected an axis"):
        latent_mix.latent_cut(latent, "t")
    with pytest.raises(InputError, match="samples2: expected latents of one size"):
        latent_mix.latent_concat(latent, Latent(torch.zeros(1, 4, 3, 3)), "x")


REGION = {"x": 1, "y": 2, "width": 3, "height": 4}


def prompt_graph() -> Graph:
    return Graph(
        {
            "1": Node("LoadImage", {"image": "a.png"}),
            "2": Node("BatchImagesNode", {
                "images.image0": Link("1", 0), "images.image2": Link("1", 0),
            }),
            "3": Node("ImageCropV2", {"image": Link("2", 0), "crop_region": REGION}),
            "4": Node("SaveImageAdvanced", {
                "images": Link("3", 0), "filename_prefix": "x", "format": "png",
                "format.bit_depth": "16-bit", "format.input_color_space": "sRGB",
            }),
        }
    )  # fmt: skip


def test_an_editor_file_keeps_groups_choices_and_regions() -> None:
    import json

    graph = prompt_graph()
    written = write_workflow(graph, REGISTRY)
    by_type = {node["type"]: node for node in written["nodes"]}
    assert [s["name"] for s in by_type["BatchImagesNode"]["inputs"]] == [
        "images.image0", "images.image2",
    ]  # fmt: skip
    assert by_type["SaveImageAdvanced"]["widgets_values"] == ["x", "png", "16-bit", "sRGB"]
    assert by_type["ImageCropV2"]["widgets_values"] == [REGION]
    read = parse_graph(json.dumps(written), REGISTRY)
    for id, node in graph.nodes.items():
        assert dict(read.nodes[id].inputs) == dict(node.inputs)


def test_a_native_file_keeps_groups_choices_and_regions() -> None:
    from latentloom.engine.formats.native import write_yaml

    graph = prompt_graph()
    read = parse_graph(write_yaml(graph), REGISTRY)
    assert read.nodes["4"].inputs == graph.nodes["4"].inputs
    assert read.nodes["3"].inputs == graph.nodes["3"].inputs
