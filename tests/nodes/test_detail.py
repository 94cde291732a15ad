"""Detail nodes in the engine: without detections, the detail pass does not run."""

from __future__ import annotations

import pytest
import torch

import latentloom
from latentloom.engine.errors import InputError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.builder import Builder
from latentloom.nodes.detail import IfFound


def detail_graph(color: int) -> Builder:
    """Build a detail pass that brightens regions of a colour in an image of one colour."""
    b = latentloom.build()
    image = b.EmptyImage(width=64, height=48, color=0x2040C0)
    mask, detections = b.DetectToMask(detector=b.ColorDetector(color=color), image=image)
    stitch, crop, _ = b.InpaintCrop(image=image, mask=mask, target_size=64, id="crop")
    detailed = b.InpaintStitch(stitch=stitch, inpainted_image=b.ImageInvert(image=crop))
    b.IfFound(detections=detections, image=image, detailed=detailed, id="result")
    return b


def test_without_detections_the_image_passes_through_and_nothing_is_cropped(engine: Engine) -> None:
    result = engine.run(detail_graph(0xC04020).graph, targets=["result"])
    assert result.errors == ()
    assert result.nodes["crop"].state == "skipped"
    blue = torch.tensor([0x20, 0x40, 0xC0]) / 255
    assert torch.equal(result["result"], blue.expand(1, 48, 64, 3))


def test_detections_are_detailed(engine: Engine) -> None:
    result = engine.run(detail_graph(0x2040C0).graph, targets=["result"])
    assert result.errors == ()
    assert result.nodes["crop"].state == "ran"
    assert float(result["result"][0, 20, 20, 0]) == pytest.approx(1 - 0x20 / 255, abs=0.01)


def test_the_error_of_an_empty_mask_suggests_iffound(engine: Engine) -> None:
    graph = detail_graph(0xC04020).graph
    (error,) = engine.run(graph, targets=["crop"]).errors
    assert "InpaintCrop (crop) .mask: expected a mask that covers something" in str(error)
    assert "IfFound" in str(error)


def test_detections_without_a_linked_detail_pass_are_an_error() -> None:
    with pytest.raises(InputError, match=r"detailed"):
        IfFound.run(1, torch.zeros(1, 8, 8, 3))
