"""Differences of images: closed forms, scikit-image, parts, batches."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentloom.diffusion.images import difference
from latentloom.diffusion.images.difference import EQUAL_DB, Comparison, edge_agreement, ssim_map


def make_noise(*shape: int, seed: int = 0) -> Tensor:
    """Return values of 8-bit images."""
    levels = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed))
    return (levels + 0.5) / 255.5


def draw_square(x: int, side: int = 40) -> Tensor:
    """Return a white square of 16×16 pixels at (x, 12) on black."""
    image = torch.zeros(1, side, side, 3)
    image[:, 12:28, x : x + 16] = 1.0
    return image


def test_equal_images_have_the_finite_limit() -> None:
    image = make_noise(1, 20, 30, 3)
    measured = Comparison(image, image.clone()).measure()
    assert measured is not None
    assert (measured.changed, measured.psnr_db, measured.delta_e) == (0, EQUAL_DB, 0.0)
    assert measured.ssim == pytest.approx(1.0, abs=1e-12)
    assert math.isfinite(EQUAL_DB)


def test_one_level_has_48_db() -> None:
    image = torch.full((1, 12, 12, 3), 100.5 / 255)
    measured = Comparison(image, image + 1 / 255).measure()
    assert measured is not None
    assert measured.psnr_db == pytest.approx(20 * math.log10(255), abs=1e-9)


@pytest.mark.parametrize("chunk", [40, 2**18])
@pytest.mark.parametrize("size", [(11, 11), (11, 29), (64, 48)])
def test_ssim_is_that_of_scikit_image(
    size: tuple[int, int], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    monkeypatch.setattr(difference, "CHUNK", chunk)
    first = make_noise(*size).mul(255).floor().double()
    second = (first * 0.6 + make_noise(*size, seed=1).mul(255).floor() * 0.4).double()
    expected, plane = metrics.structural_similarity(
        first.numpy(), second.numpy(), gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, data_range=255, full=True,
    )  # fmt: skip
    result = ssim_map(first, second)
    assert float(result.mean()) == pytest.approx(float(expected), abs=1e-10)
    inner = torch.from_numpy(plane)[5:-5, 5:-5]
    torch.testing.assert_close(result, inner, rtol=0, atol=1e-9)


def test_delta_e_is_that_of_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    color = pytest.importorskip("skimage.color")
    monkeypatch.setattr(difference, "CHUNK", 50)
    first, second = make_noise(1, 12, 20, 3), make_noise(1, 12, 20, 3, seed=1)
    labs = [color.rgb2lab((image[0] * 255).byte().numpy()) for image in (first, second)]
    measured = Comparison(first, second).measure()
    assert measured is not None
    assert measured.delta_e == pytest.approx(float(color.deltaE_ciede2000(*labs).mean()), abs=0.01)


def test_a_part_is_measured_by_its_pixels_alone() -> None:
    image = torch.full((1, 32, 32, 3), 100.5 / 255)
    changed, inside = image.clone(), torch.zeros(1, 32, 32, dtype=torch.bool)
    changed[:, :16] += 10 / 255
    inside[:, :16] = True
    comparison = Comparison(image, changed)
    within, outside = comparison.measure(inside), comparison.measure(~inside)
    assert within is not None
    assert outside is not None
    assert (within.pixels, within.changed, outside.pixels, outside.changed) == (512, 512, 512, 0)
    assert within.psnr_db == pytest.approx(28.13, abs=0.01)
    assert (outside.psnr_db, outside.delta_e) == (EQUAL_DB, 0.0)
    assert comparison.measure(torch.zeros_like(inside)) is None


def test_ssim_has_no_value_at_the_border() -> None:
    image = make_noise(1, 32, 32, 3)
    border = torch.zeros(1, 32, 32, dtype=torch.bool)
    border[:, :5] = True
    for measured in (
        Comparison(image, image).measure(border),
        Comparison(image[:, :10], image[:, :10]).measure(),
    ):
        assert measured is not None
        assert measured.ssim is None
        assert measured.psnr_db == EQUAL_DB


def test_one_image_is_compared_with_each_of_a_batch() -> None:
    image, batch = make_noise(1, 16, 16, 3), make_noise(3, 16, 16, 3, seed=1)
    together = Comparison(image, batch).measure()
    apart = [Comparison(image, batch[index : index + 1]).measure() for index in range(3)]
    assert together is not None
    mean = sum(part.delta_e for part in apart if part is not None) / 3
    assert together.delta_e == pytest.approx(mean)


def test_grey_is_compared_as_rgb_and_alpha_ignored() -> None:
    grey = make_noise(1, 16, 16, 1)
    opaque = torch.cat([grey.repeat(1, 1, 1, 3), torch.zeros_like(grey)], dim=-1)
    measured = Comparison(grey, opaque).measure()
    assert measured is not None
    assert measured.changed == 0


@pytest.mark.parametrize(("shift", "reach", "score"), [(0, 0, 1), (2, 2, 1), (2, 1, None)])
def test_edges_agree_within_reach(shift: int, reach: int, score: float | None) -> None:
    f1 = edge_agreement(draw_square(10), draw_square(10 + shift), reach, 0.4, 0.8)
    # Two of the four sides lie on the same rows whatever the shift.
    assert f1 == score if score is not None else 0.4 < f1 < 0.9


def test_edges_of_one_image_only_have_score_0_and_of_none_1() -> None:
    blank = torch.zeros(1, 40, 40, 3)
    assert edge_agreement(draw_square(10), blank, 2, 0.4, 0.8) == 0.0
    assert edge_agreement(blank, draw_square(10), 2, 0.4, 0.8) == 0.0
    assert edge_agreement(blank, blank, 2, 0.4, 0.8) == 1.0


def test_the_score_is_the_harmonic_mean_of_two_shares() -> None:
    one = draw_square(2)
    both = one.clone()
    both[:, 12:28, 22:38] = 1.0
    # All edges of `one` are in `both`, half of those of `both` are in `one`.
    assert edge_agreement(one, both, 1, 0.4, 0.8) == pytest.approx(2 / 3, abs=0.02)
