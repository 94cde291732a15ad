"""ImageDifference and EdgeAgreement: outputs, masks, errors by input, and a graph."""

from __future__ import annotations

import pytest
import torch

import latentloom
from latentloom.engine.errors import InputError
from latentloom.engine.execution.executor import Engine
from latentloom.nodes.image_difference import edge_agreement, image_difference

IMAGE = torch.full((1, 24, 24, 3), 100.5 / 255)


def test_only_the_mask_counts() -> None:
    changed, mask = IMAGE.clone(), torch.zeros(1, 24, 24)
    changed[:, :12] += 10 / 255
    mask[:, 12:] = 0.2
    assert image_difference(IMAGE, changed, mask).psnr == 200.0
    assert image_difference(IMAGE, changed, mask).delta_e == 0.0
    assert image_difference(IMAGE, changed, 1 - mask.ceil()).psnr == pytest.approx(28.13, abs=0.01)
    assert image_difference(IMAGE, changed).psnr == pytest.approx(31.14, abs=0.01)


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (IMAGE[:, :20], None, r"image2: expected 24×24 pixels, as `image1`, got 24×20"),
        (IMAGE, torch.ones(24, 24), r"mask: expected masks B×H×W"),
        (IMAGE, torch.ones(1, 24, 20), r"mask: expected 24×24 pixels, as the images, got 20×24"),
        (IMAGE, torch.ones(2, 24, 24), r"mask: expected 1 or 1 masks"),
        (IMAGE, torch.zeros(1, 24, 24), r"mask: expected a pixel above 0"),
    ],
)
def test_what_does_not_fit_is_named(
    image: torch.Tensor, mask: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        image_difference(IMAGE, image, mask)


def test_batches_of_other_lengths_are_rejected() -> None:
    with pytest.raises(InputError, match=r"image2: expected 1 or 2 images, as `image1`, got 3"):
        image_difference(IMAGE.repeat(2, 1, 1, 1), IMAGE.repeat(3, 1, 1, 1))


def test_images_below_a_window_are_rejected() -> None:
    with pytest.raises(InputError, match=r"image1: expected at least 11×11 pixels, got 24×10"):
        image_difference(IMAGE[:, :10], IMAGE[:, :10])
    with pytest.raises(InputError, match=r"image1: expected at least 3×3 pixels, got 24×2"):
        edge_agreement(IMAGE[:, :2], IMAGE[:, :2])


def test_a_low_threshold_above_the_high_one_is_rejected() -> None:
    with pytest.raises(InputError, match=r"low_threshold: expected at most `high_threshold`"):
        edge_agreement(IMAGE, IMAGE, 2.0, 0.8, 0.4)


def test_a_graph_gives_the_numbers_by_name(engine: Engine) -> None:
    b = latentloom.build()
    first = b.EmptyImage(width=16, height=16, color=0x646464)
    second = b.EmptyImage(width=16, height=16, color=0x656565)
    b.ImageDifference(image1=first, image2=second, id="change")
    b.EdgeAgreement(image1=first, image2=second, id="edges")
    result = engine.run(b.graph, targets=["change", "edges"])
    assert result.errors == ()
    assert result["change"].psnr == pytest.approx(48.13, abs=0.01)
    assert 0.9 < result["change"].ssim < 1.0
    assert 0.0 < result["change"].delta_e < 1.0
    assert result["edges"].f1 == 1.0


def test_an_error_in_a_graph_names_node_and_input(engine: Engine) -> None:
    b = latentloom.build()
    first, second = b.EmptyImage(width=16, height=16), b.EmptyImage(width=16, height=17)
    b.ImageDifference(image1=first, image2=second, id="change")
    (error,) = engine.run(b.graph, targets=["change"]).errors
    assert "change" in str(error)
    assert "image2: expected 16×16 pixels" in str(error)
