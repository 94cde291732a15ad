"""Colours with the statistics of other images: closed forms, flat images, alpha."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.images.color_transfer import Method, transfer_colors
from latentloom.diffusion.images.lab import to_lab

METHODS: tuple[Method, ...] = ("reinhard_lab", "mkl_lab", "histogram")


def photo(seed: int, low: float = 0.3, high: float = 0.7, channels: int = 3) -> Tensor:
    """Return seeded colours inside a range, so that none is clamped."""
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(1, 24, 24, channels, generator=generator)


@pytest.mark.parametrize("method", METHODS)
def test_no_strength_changes_nothing(method: Method) -> None:
    image = photo(1)
    changed = transfer_colors(image, photo(2, 0.4, 0.5), method, 0.0)
    torch.testing.assert_close(changed, image, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_an_image_keeps_its_own_statistics(method: Method) -> None:
    image = photo(1)
    changed = transfer_colors(image, image, method, 1.0)
    torch.testing.assert_close(changed, image, rtol=0, atol=1 / 255)


def test_reinhard_gives_mean_and_spread_of_the_reference() -> None:
    reference = photo(2, 0.45, 0.6)
    changed = to_lab(transfer_colors(photo(1), reference, "reinhard_lab", 1.0)).flatten(0, 2)
    expected = to_lab(reference).flatten(0, 2)
    torch.testing.assert_close(changed.mean(0), expected.mean(0), rtol=0, atol=1e-2)
    torch.testing.assert_close(changed.std(0), expected.std(0), rtol=1e-3, atol=0)


def test_optimal_transport_gives_the_covariance_of_the_reference() -> None:
    reference = photo(2, 0.45, 0.6)
    changed = to_lab(transfer_colors(photo(1), reference, "mkl_lab", 1.0)).flatten(0, 2)
    expected = torch.cov(to_lab(reference).flatten(0, 2).T)
    torch.testing.assert_close(torch.cov(changed.T), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("method", METHODS)
def test_flat_images_give_finite_colours(method: Method) -> None:
    flat = torch.full((1, 4, 4, 3), 0.5)
    for target, reference in ((flat, photo(1)), (photo(1), flat), (flat, flat)):
        assert bool(torch.isfinite(transfer_colors(target, reference, method, 1.0)).all())


def test_frames_count_alone_together_or_one_for_all() -> None:
    batch = torch.cat([photo(1), photo(2, 0.1, 0.2)])
    reference = photo(3)
    alone = transfer_colors(batch, reference, "reinhard_lab", 1.0)
    first = transfer_colors(batch, reference, "reinhard_lab", 1.0, frame=0)
    last = transfer_colors(batch, reference, "reinhard_lab", 1.0, frame=9)
    together = transfer_colors(batch, reference, "reinhard_lab", 1.0, frame=-1)
    torch.testing.assert_close(alone[0], first[0])
    torch.testing.assert_close(alone[1], last[1])
    assert not torch.allclose(together[0], alone[0], atol=0.01)


def test_alpha_stays() -> None:
    image = photo(1, channels=4)
    changed = transfer_colors(image, photo(2), "histogram", 1.0)
    assert torch.equal(changed[..., 3], image[..., 3])
