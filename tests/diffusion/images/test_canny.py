"""Canny: closed forms on steps and ramps, batches, and errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.images.canny import canny


def make_step(low: float = 0.0, high: float = 1.0, side: int = 16) -> Tensor:
    """Return an image that is dark on the left half and bright on the right."""
    image = torch.full((1, side, side, 3), low)
    image[:, :, side // 2 :] = high
    return image


def test_a_step_is_one_line_on_its_bright_side() -> None:
    edges = canny(make_step(), 0.4, 0.8)
    assert edges.shape == (1, 16, 16, 3)
    assert torch.equal(edges[0, :, :, 0].sum(0), torch.eye(16)[8] * 16)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_edges_rotate_with_the_image(turns: int) -> None:
    turned = canny(torch.rot90(make_step(), turns, (1, 2)), 0.4, 0.8)
    assert torch.equal(turned, torch.rot90(canny(make_step(), 0.4, 0.8), turns, (1, 2)))


def test_a_flat_image_has_no_edges() -> None:
    assert canny(torch.full((2, 9, 7, 3), 0.6), 0.01, 0.01).count_nonzero() == 0


def test_a_step_of_height_one_reads_2_6() -> None:
    # The Sobel filter (weight 8) of a Gaussian step: 4·(g[0] + g[1]) with g the 5-tap Gaussian.
    weights = torch.softmax(-torch.arange(-2.0, 3.0).square() / 2, 0)
    height = 4 * float(weights[2] + weights[3])
    assert height == pytest.approx(2.587, abs=1e-3)
    assert canny(make_step(), height - 1e-3, height - 1e-3).any()
    assert not canny(make_step(), height + 1e-3, height + 1e-3).any()


def test_colours_of_one_luma_have_no_edge_between_them() -> None:
    image = torch.zeros(1, 12, 12, 3)
    image[:, :, :6, 0] = 0.587
    image[:, :, 6:, 1] = 0.299
    assert canny(image, 0.01, 0.01).count_nonzero() == 0


def make_fading_step() -> Tensor:
    """Return a step whose contrast falls from 1 at the top to 0 at the bottom."""
    return make_step() * torch.linspace(1.0, 0.0, 16).view(1, 16, 1, 1)


def test_hysteresis_follows_a_strong_edge_into_its_weak_end() -> None:
    strong, both = (
        int(canny(make_fading_step(), low, 1.5)[0, :, 8, 0].sum()) for low in (1.5, 0.5)
    )
    assert strong < both
    assert int(canny(make_fading_step() * 0.5, 0.5, 1.5).sum()) == 0


def test_images_of_a_batch_do_not_share_edges() -> None:
    weak = make_step(high=0.3)
    assert canny(weak, 0.4, 0.4).any()
    batch = canny(torch.cat([weak, make_step(), weak]), 0.4, 0.8)
    assert [bool(edges.any()) for edges in batch] == [False, True, False]


def test_a_batch_gives_the_edges_of_its_images() -> None:
    images = torch.rand(3, 20, 24, 3, generator=torch.Generator().manual_seed(3))
    edges = torch.cat([canny(image, 0.4, 0.8) for image in images[:, None]])
    assert torch.equal(canny(images, 0.4, 0.8), edges)
    assert 0 < edges.mean() < 0.5


def test_alpha_is_ignored_and_grey_equals_rgb() -> None:
    expected = canny(make_step(), 0.4, 0.8)
    assert torch.equal(
        canny(torch.cat([make_step(), torch.rand(1, 16, 16, 1)], 3), 0.4, 0.8), expected
    )
    assert torch.equal(canny(make_step()[..., :1], 0.4, 0.8), expected)


def test_swapped_thresholds_and_tiny_images_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"low threshold: expected at most 0\.4, got 0\.8"):
        canny(make_step(), 0.8, 0.4)
    with pytest.raises(ValueError, match="expected at least 3×3 pixels, got 2×5"):
        canny(torch.zeros(1, 5, 2, 3), 0.4, 0.8)
