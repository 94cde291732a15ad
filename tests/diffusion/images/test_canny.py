"""Canny: closed forms on steps, ramps and islands."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.images.canny import canny


def step(low: float = 0.0, high: float = 1.0, side: int = 16) -> Tensor:
    """Dark on the left half, bright on the right."""
    image = torch.full((1, side, side, 3), low)
    image[:, :, side // 2 :] = high
    return image


def test_a_step_is_one_line_on_its_bright_side() -> None:
    edges = canny(step(), 0.4, 0.8)
    assert edges.shape == (1, 16, 16, 3)
    assert torch.equal(edges[0, :, :, 0].sum(0), torch.eye(16)[8] * 16)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_image_has_turned_edges(turns: int) -> None:
    turned = canny(torch.rot90(step(), turns, (1, 2)), 0.4, 0.8)
    assert torch.equal(turned, torch.rot90(canny(step(), 0.4, 0.8), turns, (1, 2)))


def test_a_flat_image_has_no_edges() -> None:
    assert canny(torch.full((2, 9, 7, 3), 0.6), 0.01, 0.01).count_nonzero() == 0


def test_a_step_of_height_one_reads_2_6() -> None:
    # The Sobel filter (weight 8) of a Gaussian step: 4·(g[0] + g[1]) with g the 5-tap Gaussian.
    weights = torch.softmax(-torch.arange(-2.0, 3.0).square() / 2, 0)
    height = 4 * float(weights[2] + weights[3])
    assert height == pytest.approx(2.587, abs=1e-3)
    assert canny(step(), height - 1e-3, height - 1e-3).any()
    assert not canny(step(), height + 1e-3, height + 1e-3).any()


def test_colours_of_one_luma_have_no_edge_between_them() -> None:
    image = torch.zeros(1, 12, 12, 3)
    image[:, :, :6, 0] = 0.587
    image[:, :, 6:, 1] = 0.299
    assert canny(image, 0.01, 0.01).count_nonzero() == 0


def fading() -> Tensor:
    """A step whose contrast falls from 1 at the top to 0 at the bottom."""
    return step() * torch.linspace(1.0, 0.0, 16).view(1, 16, 1, 1)


def test_hysteresis_follows_a_strong_edge_into_its_weak_end() -> None:
    strong, both = (int(canny(fading(), low, 1.5)[0, :, 8, 0].sum()) for low in (1.5, 0.5))
    assert strong < both
    assert int(canny(fading() * 0.5, 0.5, 1.5).sum()) == 0


def test_a_weak_edge_of_another_image_of_the_batch_stays_away() -> None:
    weak = step(high=0.3)
    assert canny(weak, 0.4, 0.4).any()
    batch = canny(torch.cat([weak, step(), weak]), 0.4, 0.8)
    assert [bool(edges.any()) for edges in batch] == [False, True, False]


def test_a_batch_is_its_images() -> None:
    images = torch.rand(3, 20, 24, 3, generator=torch.Generator().manual_seed(3))
    edges = torch.cat([canny(image, 0.4, 0.8) for image in images[:, None]])
    assert torch.equal(canny(images, 0.4, 0.8), edges)
    assert 0 < edges.mean() < 0.5


def test_alpha_does_not_count_and_grey_reads_like_rgb() -> None:
    expected = canny(step(), 0.4, 0.8)
    assert torch.equal(canny(torch.cat([step(), torch.rand(1, 16, 16, 1)], 3), 0.4, 0.8), expected)
    assert torch.equal(canny(step()[..., :1], 0.4, 0.8), expected)


def test_swapped_thresholds_and_tiny_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"low threshold: expected at most 0\.4, got 0\.8"):
        canny(step(), 0.8, 0.4)
    with pytest.raises(ValueError, match="expected at least 3×3 pixels, got 2×5"):
        canny(torch.zeros(1, 5, 2, 3), 0.4, 0.8)
