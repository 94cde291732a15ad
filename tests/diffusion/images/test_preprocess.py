"""Preprocessors: closed forms on flat, stepped and random images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from latentloom.diffusion.images import preprocess


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


FLAT = torch.tensor([0.2, 0.5, 0.9]).expand(1, 70, 90, 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda image: preprocess.remove_detail(image, 3),
        preprocess.to_color_grid,
        lambda image: preprocess.shuffle(image, 5),
        lambda image: preprocess.to_resolution(image, 40),
        lambda image: preprocess.to_resolution(image, 128),
    ],
)
def test_a_flat_image_keeps_its_colour(make: Callable[[Tensor], Tensor]) -> None:
    got = make(FLAT)
    torch.testing.assert_close(got, FLAT[:, :1, :1].expand_as(got), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("side", "size"), [(64, (64, 128)), (16, (16, 32)), (32, (32, 64))])
def test_the_shorter_side_gets_the_resolution(side: int, size: tuple[int, int]) -> None:
    assert preprocess.to_resolution(random(2, 32, 64, 3), side).shape == (2, *size, 3)


def test_removing_detail_keeps_the_means() -> None:
    image = random(1, 64, 64, 3)
    got = preprocess.remove_detail(image, 3)
    torch.testing.assert_close(got.mean((1, 2)), image.mean((1, 2)), atol=0.02, rtol=0)
    assert float(got.std()) < 0.3 * float(image.std())
    finer = preprocess.remove_detail(image, 1)
    assert float(got.std()) < float(finer.std()) < float(image.std())


def test_doubling_preserves_a_ramp() -> None:
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8)
    grown = preprocess._double(ramp)[0, 0, 8]
    torch.testing.assert_close(grown[2:-2], torch.arange(16.0)[2:-2] / 2)


def test_colours_are_uniform_in_blocks_of_64_px() -> None:
    got = preprocess.to_color_grid(random(1, 128, 192, 3))
    cells = got.reshape(1, 2, 64, 3, 64, 3)
    assert torch.equal(cells, cells[:, :, :1, :, :1].expand_as(cells))
    assert len({tuple(pixel) for pixel in got.reshape(-1, 3).tolist()}) == 6


def test_strokes_are_dark_in_any_channel() -> None:
    image = torch.ones(1, 4, 4, 3)
    image[0, 1, 1] = 0.0
    image[0, 2, 2, 1] = 0.4
    image[0, 3, 3] = 0.51
    got = preprocess.extract_strokes(image)
    assert got.sum() == 6
    assert bool(got[0, 1, 1].all())
    assert bool(got[0, 2, 2].all())


def test_a_threshold_separates_dark_from_light() -> None:
    image = torch.linspace(0, 1, 256).view(1, 1, 256, 1).repeat(1, 1, 1, 3)
    got = preprocess.binarize(image, 100)[0, 0, :, 0]
    assert torch.equal(got, (torch.arange(256) <= 100).float())


def test_otsu_separates_two_groups() -> None:
    levels = torch.cat([torch.full((30,), 40.0), torch.full((70,), 42.0), torch.full((50,), 200.0)])
    assert 42 <= preprocess.otsu_threshold(levels) < 200
    two = torch.cat([levels.view(1, 10, 15) / 255, 1 - levels.view(1, 10, 15) / 255])
    got = preprocess.binarize(two.unsqueeze(-1).repeat(1, 1, 1, 3), 0)
    assert [int(plane.sum()) for plane in got[..., 0]] == [100, 50]


def test_a_shuffle_depends_on_its_seed_and_keeps_the_range() -> None:
    image = random(2, 80, 60, 3)
    one, again, other = (preprocess.shuffle(image, seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other)
    assert one.shape == image.shape
    assert image.min() <= one.min() <= one.max() <= image.max()


def test_masked_pixels_are_set_and_others_do_not_change() -> None:
    image, mask = random(2, 16, 16, 3), torch.zeros(1, 8, 8)
    mask[:, 2:4, 2:4] = 1
    got = preprocess.set_masked(image, mask, black=False)
    unknown = (got == -1).all(-1)
    assert bool(unknown[:, 5:7, 5:7].all())
    assert not unknown[:, :3].any()
    assert torch.equal(got[~unknown], image[~unknown])
    assert torch.equal(preprocess.set_masked(image, mask, black=True)[unknown], got[unknown] + 1)


def test_dark_lines_become_bright_and_bright_areas_dark() -> None:
    image = torch.full((1, 40, 40, 3), 0.8)
    image[:, :, 12] = 0.1
    image[:, :, 30] = 1.0
    got = preprocess.extract_lines(image, 6.0, 8)
    assert float(got[0, :, 12].min()) > 0.45
    assert float(got[0, :, 30].max()) == 0.0
    assert not preprocess.extract_lines(FLAT, 6.0, 8).any()
    assert not preprocess.extract_lines(image, 0.0, 8).any()


def test_lines_equal_those_of_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    image = random(1, 50, 70, 3, seed=2)
    levels = image[0].numpy() * 255
    darkness = (cv2.GaussianBlur(levels, (0, 0), 6.0) - levels).min(axis=2).clip(0, 255)
    scale = max(16, float(np.median(darkness[darkness > 8])))
    expected = (darkness / scale * 127).clip(0, 255)
    got = preprocess.extract_lines(image, 6.0, 8)[0, ..., 0].numpy() * 255
    assert float(abs(got - expected).max()) <= 1.6
