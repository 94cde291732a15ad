"""Porter-Duff modes: alpha in closed form, and colours of opaque layers."""

from __future__ import annotations

import pytest
import torch

from latentloom.diffusion.images import porter_duff
from latentloom.diffusion.images.porter_duff import MODES, compose

S, D = 0.6, 0.3
ALPHAS = {
    "ADD": 0.9, "CLEAR": 0.0, "DARKEN": 0.72, "DST": D, "DST_ATOP": S, "DST_IN": 0.18,
    "DST_OUT": 0.12, "DST_OVER": 0.72, "LIGHTEN": 0.72, "MULTIPLY": 0.18, "OVERLAY": 0.72,
    "SCREEN": 0.72, "SRC": S, "SRC_ATOP": D, "SRC_IN": 0.18, "SRC_OUT": 0.42, "SRC_OVER": 0.72,
    "XOR": 0.54,
}  # fmt: skip


def layers(source: float, target: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((1, 1, 1, 3), source), torch.full((1, 1, 1, 3), target)


@pytest.mark.parametrize("mode", MODES)
def test_the_alpha_of_a_mode(mode: str) -> None:
    above, below = layers(0.25, 0.75)
    clear = (torch.full((1, 1, 1), 1 - S), torch.full((1, 1, 1), 1 - D))
    _, mask = compose(above, clear[0], below, clear[1], mode)
    assert 1 - float(mask) == pytest.approx(ALPHAS[mode], abs=1e-6)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("SRC_OVER", 0.25), ("DST_OVER", 0.75), ("DARKEN", 0.25), ("LIGHTEN", 0.75),
        ("MULTIPLY", 0.1875), ("SCREEN", 0.8125), ("OVERLAY", 0.625), ("CLEAR", 0.0),
        ("SRC_OUT", 0.0), ("XOR", 0.0),
    ],
)  # fmt: skip
def test_the_colour_of_opaque_layers(mode: str, expected: float) -> None:
    above, below = layers(0.25, 0.75)
    opaque = torch.zeros(1, 1, 1)
    color, _ = compose(above, opaque, below, opaque, mode)
    assert color.flatten().tolist() == pytest.approx([expected] * 3)


def test_a_half_transparent_source_over_an_opaque_target_is_their_mean() -> None:
    above, below = layers(1.0, 0.0)
    color, mask = compose(
        above, torch.full((1, 1, 1), 0.5), below, torch.zeros(1, 1, 1), "SRC_OVER"
    )
    assert float(color[0, 0, 0, 0]) == pytest.approx(0.5)
    assert float(mask) == 0.0


def test_sizes_and_batches_follow_the_target() -> None:
    target, mask = torch.rand(2, 6, 8, 4), torch.zeros(1, 64, 64)
    color, clear = compose(torch.rand(1, 3, 3, 3), mask, target, mask, "SRC_ATOP")
    assert color.shape == (2, 6, 8, 3)
    assert clear.shape == (2, 6, 8)


def test_splitting_undoes_joining() -> None:
    image, mask = torch.rand(2, 4, 5, 3), torch.rand(1, 4, 5)
    rgb, transparent = porter_duff.split_alpha(porter_duff.join_alpha(image, mask))
    assert torch.equal(rgb, image)
    torch.testing.assert_close(transparent, mask.repeat(2, 1, 1))


def test_an_image_without_alpha_is_opaque() -> None:
    assert not bool(porter_duff.split_alpha(torch.rand(1, 2, 3, 3))[1].any())
