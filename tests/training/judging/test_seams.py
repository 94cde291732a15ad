"""Seams: none in true renders, seen where a part has another tint."""

from __future__ import annotations

import numpy as np
from PIL import Image

from training.judging.crowd import is_present
from training.judging.seams import colour_step, fillings, margins, padded, seam
from training.world.render import render
from training.world.scenes import SIZE

FILLINGS = fillings(6)


def tinted(image: Image.Image, mask: Image.Image, tint: int) -> Image.Image:
    """The image, brighter under the mask."""
    pixels = np.asarray(image).astype(int) + tint * (np.asarray(mask) > 127)[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def test_true_renders_have_no_seams() -> None:
    seams = [seam(render(filling.wanted), filling.mask) for filling in FILLINGS]

    assert np.mean(seams) < 1.3


def test_a_tint_under_the_mask_is_a_seam() -> None:
    seams = [seam(tinted(render(f.wanted), f.mask, 16), f.mask) for f in FILLINGS]

    assert np.mean(seams) > 2


def test_the_thing_that_is_to_appear_is_missing_before() -> None:
    for filling in FILLINGS:
        thing = filling.wanted.things[0]
        assert is_present(render(filling.wanted), thing, filling.wanted)
        assert not is_present(render(filling.source), thing, filling.wanted)


def test_the_mask_covers_the_thing_and_only_the_thing_changes() -> None:
    for filling in FILLINGS:
        before, after = (np.asarray(render(s), int) for s in (filling.source, filling.wanted))
        changed = np.abs(before - after).max(2) > 0
        assert np.asarray(filling.mask)[changed].min() == 255


def test_true_renders_have_no_colour_step() -> None:
    steps = [colour_step(render(task.scene), 3 * SIZE // 4) for task in margins(6)]

    assert np.mean(steps) < 1


def test_another_tint_beyond_the_border_is_a_colour_step() -> None:
    width, mask = padded(render(margins(1)[0].scene))
    full = Image.new("RGB", width.size, (90, 140, 90))

    assert width.size == (SIZE + SIZE // 4, SIZE)
    assert colour_step(tinted(full, mask, 10), SIZE) == 10
