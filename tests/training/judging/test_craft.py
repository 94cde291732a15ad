"""The measures of drawing: near 1 for true renders, worse for what looks worse."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from training.judging.craft import acutance, flatness, shape_overlap
from training.judging.drawing import shape_overlaps
from training.judging.oracle import object_mask
from training.judging.tasks import object_tasks, sheet_tasks
from training.world.render import render
from training.world.scenes import KINDS, SIZE

VIEWS = [render(task.scene) for task in object_tasks(3)]
SHEETS = sheet_tasks(len(KINDS))


def blurred(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


@pytest.mark.parametrize("image", VIEWS)
def test_outlines_of_true_renders_span_their_contrast_in_two_pixels(image: Image.Image) -> None:
    assert acutance(image) > 0.95


@pytest.mark.parametrize("image", VIEWS)
def test_blur_lowers_the_acutance_and_more_blur_lowers_it_more(image: Image.Image) -> None:
    assert acutance(image) > acutance(blurred(image, 0.7)) > acutance(blurred(image, 1.5))
    assert acutance(blurred(image, 1)) < 0.85 * acutance(image)


def test_an_empty_image_has_no_outlines_and_is_flat() -> None:
    empty = Image.new("RGB", (SIZE, SIZE), (40, 85, 210))

    assert acutance(empty) == 0
    assert flatness(empty) == 1


@pytest.mark.parametrize("image", VIEWS)
def test_blotches_lower_the_flatness(image: Image.Image) -> None:
    dice = np.random.default_rng(0)
    coarse = Image.fromarray(dice.normal(128, 30, (64, 64)).clip(0, 255).astype(np.uint8))
    blotches = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC), float) - 128
    pixels = np.asarray(image, float) + blotches[..., None] / 2

    blotched = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    assert flatness(image) > 0.6
    assert flatness(blotched) < 0.6 * flatness(image)


def test_true_things_have_the_shapes_of_their_kinds() -> None:
    overlaps = shape_overlaps(
        [render(task.scene) for task in SHEETS], [task.scene.things[0].kind for task in SHEETS]
    )

    assert set(overlaps) == set(KINDS)
    assert min(overlaps.values()) > 0.93


@pytest.mark.parametrize("index", range(len(KINDS)))
def test_another_kind_fits_worse(index: int) -> None:
    mask = object_mask(render(SHEETS[index].scene))
    kind = SHEETS[index].scene.things[0].kind

    others = [shape_overlap(mask, other) for other in KINDS if other != kind]

    assert max(others) < shape_overlap(mask, kind) - 0.05


def test_a_dented_shape_overlaps_less() -> None:
    mask = object_mask(render(SHEETS[1].scene))
    rows, columns = np.where(mask)

    mask[: int(rows.mean()), : int(columns.mean())] = False

    assert shape_overlap(mask, "square") < 0.85
