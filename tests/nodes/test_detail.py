"""Detail nodes through the engine: nothing is run for what was not found."""

from __future__ import annotations

import pytest
import torch

import latentloom
from latentloom.engine.errors import InputError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.graph.builder import Builder
from latentloom.nodes.detail import IfFound


def detailing(color: int) -> Builder:
    """An image of one colour, of which parts of another one are to be made brighter."""
    b = latentloom.build()
    image = b.EmptyImage(width=64, height=48, color=0x2040C0)
    mask, detections = b.DetectToMask(detector=b.ColorDetector(color=color), image=image)
    stitch, crop, _ = b.InpaintCrop(image=image, mask=mask, target_size=64, id="crop")
    detailed = b.InpaintStitch(stitch=stitch, inpainted_image=b.ImageInvert(image=crop))
    b.IfFound(detections=detections, image=image, detailed=detailed, id="result")
    return b


def test_where_nothing_is_found_the_image_goes_through_and_nothing_is_cut(engine: Engine) -> None:
    result = engine.run(detailing(0xC04020).graph, targets=["result"])
    assert result.errors == ()
    assert result.nodes["crop"].state == "skipped"
    blue = torch.tensor([0x20, 0x40, 0xC0]) / 255
    assert torch.equal(result["result"], blue.expand(1, 48, 64, 3))


def test_where_something_is_found_it_is_detailed(engine: Engine) -> None:
    result = engine.run(detailing(0x2040C0).graph, targets=["result"])
    assert result.errors == ()
    assert result.nodes["crop"].state == "ran"
    assert float(result["result"][0, 20, 20, 0]) == pytest.approx(1 - 0x20 / 255, abs=0.01)


def test_without_it_an_empty_mask_is_told_with_what_helps(engine: Engine) -> None:
    graph = detailing(0xC04020).graph
    (error,) = engine.run(graph, targets=["crop"]).errors
    assert "InpaintCrop (crop) .mask: expected a mask that covers something" in str(error)
    assert "IfFound" in str(error)


def test_something_found_and_nothing_linked_is_an_error() -> None:
    with pytest.raises(InputError, match=r"detailed"):
        IfFound.run(1, torch.zeros(1, 8, 8, 3))
