"""The input images in graphs/inputs are the ones this code draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from tests.paths import ROOT
from training.inputs import draw_inputs, main
from training.world.scenes import SIZE

FOLDER = ROOT / "graphs" / "inputs"


@pytest.mark.parametrize("name", draw_inputs())
def test_the_kept_image_is_the_drawn_one(name: str) -> None:
    drawn = draw_inputs()[name]

    with Image.open(FOLDER / name) as saved:
        if saved.size != (SIZE, SIZE):
            pytest.skip("the inputs of the example graphs belong to a model of another size")
        assert ImageChops.difference(saved.convert("RGB"), drawn.convert("RGB")).getbbox() is None


def test_the_mask_covers_the_red_house_and_not_the_rest() -> None:
    images = draw_inputs()
    house = np.asarray(images["house.png"]).astype(int)
    red = (house[..., 0] > 150) & (house[..., 1] < 100)

    mask = np.asarray(images["mask.png"]) > 127

    assert mask[red].all()
    assert mask.mean() < 0.6


def test_the_command_writes_every_image(tmp_path: Path) -> None:
    assert main([f"--output={tmp_path}"]) == 0

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(draw_inputs())
